"""The configuration of a whole network, as it is saved beside the weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_type_hints

from nim4asr.errors import InputError
from nim4asr.files import is_unicode, parse_json
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.prompt import PromptConfig
from nim4asr.model.shapes import AdaptorConfig, ChunkScheme, EncoderConfig, PhonemeHeadConfig
from nim4asr.phonemes import TABLE

FORMAT = 1


@dataclass(frozen=True)
class Nim4Config:
    """Every block's shape. ``llm`` is a Hugging Face model configuration with its ``model_type``.

    ``adaptor``, ``phoneme_head`` and ``llm`` are None in a checkpoint that holds the encoder alone, such as
    one imported from FireRedASR-AED. ``decoding`` is how texts are searched for where nothing else is asked,
    ``evidence`` what hits on hotwords say. ``phonemes`` are the symbols of the phoneme head's outputs in
    order.
    """

    name: str
    encoder: EncoderConfig
    adaptor: AdaptorConfig | None = None
    phoneme_head: PhonemeHeadConfig | None = None
    llm: Mapping[str, Any] | None = None
    prompt: PromptConfig = field(default_factory=PromptConfig)
    chunks: ChunkScheme = field(default_factory=ChunkScheme)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    phonemes: tuple[str, ...] = TABLE.symbols

    def to_json(self) -> str:
        """The configuration as JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "Nim4Config":
        """The inverse of ``to_json``; ``name`` is the file, for the message of an ``InputError``."""
        try:
            row = parse_json(text)
            version = row.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise InputError(f"{name}: this is not the configuration of a nim4asr model") from None
        if version != FORMAT:
            raise InputError(
                f"{name}: format {version} is newer than this program reads ({FORMAT}); upgrade nim4asr"
            )
        known = {f.name for f in fields(cls)}
        try:
            values = {
                key: _block(_BLOCKS[key], value, key) if key in _BLOCKS and value is not None else value
                for key, value in row.items()
                if key in known
            }
            if not isinstance(values["phonemes"], list):
                raise TypeError("phonemes must be a list")
            values["phonemes"] = tuple(values["phonemes"])
            return cls(**values)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{name}: the configuration does not fit ({error})") from None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not is_unicode(self.name):
            raise ValueError("name must be a string")
        if not all(isinstance(phoneme, str) for phoneme in self.phonemes):
            raise ValueError("phonemes must be strings")
        if len(set(self.phonemes)) != len(self.phonemes):
            raise ValueError("phonemes must differ")
        if self.encoder is None or None in (self.prompt, self.chunks, self.decoding, self.evidence):
            raise ValueError("encoder, prompt, chunks, decoding and evidence must not be missing")
        for block in (self.adaptor, self.phoneme_head):
            if block is not None and block.encoder_dim != self.encoder.model_dim:
                raise ValueError(
                    f"the encoder's frames have {self.encoder.model_dim} dimensions, "
                    f"and {type(block).__name__} asks for {block.encoder_dim}"
                )
        if self.phoneme_head is not None and self.phoneme_head.phonemes != len(self.phonemes):
            raise ValueError(f"{len(self.phonemes)} phonemes for {self.phoneme_head.phonemes} outputs")
        if self.llm is not None:
            _check_language_model(self.llm, None if self.adaptor is None else self.adaptor.llm_dim)


_BLOCKS: dict[str, type] = {
    "encoder": EncoderConfig,
    "adaptor": AdaptorConfig,
    "phoneme_head": PhonemeHeadConfig,
    "prompt": PromptConfig,
    "chunks": ChunkScheme,
    "decoding": DecodingConfig,
    "evidence": EvidenceConfig,
}
# The sizes in a language model's configuration, and the most that is believed.
_LLM_SIZES = {
    "vocab_size": 10_000_000,
    "hidden_size": 100_000,
    "intermediate_size": 1_000_000,
    "num_hidden_layers": 1_000,
    "num_attention_heads": 10_000,
    "num_key_value_heads": 10_000,
    "head_dim": 10_000,
    "max_position_embeddings": 100_000_000,
}


def _block(cls: type, value: Any, name: str) -> Any:
    """A block's configuration, each value of the type that it is declared with."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be an object")
    types = get_type_hints(cls)
    for key, setting in value.items():
        if key in types and not _is_of(setting, types[key]):
            raise TypeError(f"{name}.{key} must not be {str(setting)[:40]!r}")
    return cls(**value)


def _is_of(value: Any, declared: Any) -> bool:
    if isinstance(declared, UnionType):
        return any(_is_of(value, kind) for kind in declared.__args__)
    if isinstance(value, bool):
        return declared is bool
    if declared is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, declared) and (not isinstance(value, str) or is_unicode(value))


def _check_language_model(llm: Mapping[str, Any], width: int | None) -> None:
    if not isinstance(llm, Mapping) or not isinstance(llm.get("model_type"), str):
        raise ValueError("llm must be an object with a model_type")
    for key, most in _LLM_SIZES.items():
        size = llm.get(key)
        if size is not None and not (_is_of(size, int) and 1 <= size <= most):
            raise ValueError(f"llm.{key} must be a whole number from 1 to {most:,}")
    if width is not None and llm.get("hidden_size", width) != width:
        raise ValueError(f"the language model's width is {llm['hidden_size']}, and the adaptor's {width}")
