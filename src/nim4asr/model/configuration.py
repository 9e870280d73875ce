"""The configuration of a whole network, as it is saved beside the weights."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nim4asr.acoustics.clock import FrameClock
from nim4asr.acoustics.frontend import FeatureConfig, Frontend
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.acoustics.normalization import Normalization
from nim4asr.acoustics.whisper import WhisperFeatures
from nim4asr.errors import InputError
from nim4asr.files import is_unicode, parse_json
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.prompt import PromptConfig
from nim4asr.model.shapes import (
    AdaptorConfig,
    ChunkScheme,
    ConformerConfig,
    EncoderConfig,
    PhonemeHeadConfig,
    WhisperConfig,
)
from nim4asr.phonemes import TABLE

FORMAT = 1


@dataclass(frozen=True)
class Nim4Config:
    """Every block's shape. ``llm`` is a Hugging Face model configuration with its ``model_type``.

    ``features`` are what the encoder hears. ``adaptor``, ``phoneme_head`` and ``llm`` are None in a
    checkpoint that holds the encoder alone, such as one imported from FireRedASR-AED. ``chunks`` are those
    that live speech is heard in; None for an encoder that was never trained in chunks. ``decoding`` is how
    texts are searched for where nothing else is asked, ``evidence`` what hits on hotwords say. ``phonemes``
    are the symbols of the phoneme head's outputs in order.
    """

    name: str
    encoder: EncoderConfig
    features: FeatureConfig = field(default_factory=KaldiFeatures)
    adaptor: AdaptorConfig | None = None
    phoneme_head: PhonemeHeadConfig | None = None
    llm: Mapping[str, Any] | None = None
    prompt: PromptConfig = field(default_factory=PromptConfig)
    chunks: ChunkScheme | None = field(default_factory=ChunkScheme)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    phonemes: tuple[str, ...] = TABLE.symbols

    def to_json(self) -> str:
        """The configuration as JSON text."""
        row = {"format": FORMAT, **asdict(self)}
        for name in _KINDS:
            row[name] = {"kind": getattr(self, name).kind, **row[name]}
        return json.dumps(row, ensure_ascii=False, indent=1) + "\n"

    @property
    def clock(self) -> FrameClock:
        """When the encoder makes its frames."""
        encoder = self.encoder
        return FrameClock(self.features.hz, encoder.stride, encoder.lookahead, encoder.pads_end)

    def frontend(self, normalization: Normalization) -> Frontend:
        """What the encoder hears by, with a normalization that was measured."""
        return Frontend(self.features, normalization, self.clock)

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
                key: _block(key, value) if key in _BLOCKS and value is not None else value
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
        if None in (self.encoder, self.features, self.prompt, self.decoding, self.evidence):
            raise ValueError("encoder, features, prompt, decoding and evidence must not be missing")
        if self.encoder.input_dim != self.features.bins:
            raise ValueError(
                f"the encoder takes {self.encoder.input_dim} bins, and the features have {self.features.bins}"
            )
        for block in (self.adaptor, self.phoneme_head):
            if block is not None and block.encoder_dim != self.encoder.frame_dim:
                raise ValueError(
                    f"the encoder's frames have {self.encoder.frame_dim} dimensions, "
                    f"and {type(block).__name__} asks for {block.encoder_dim}"
                )
        if self.phoneme_head is not None and self.phoneme_head.phonemes != len(self.phonemes):
            raise ValueError(f"{len(self.phonemes)} phonemes for {self.phoneme_head.phonemes} outputs")
        if self.llm is not None:
            _check_language_model(self.llm, None if self.adaptor is None else self.adaptor.llm_dim)


# Blocks of which there are several kinds; the first is meant where a file names none.
_KINDS: dict[str, tuple[type, ...]] = {
    "encoder": (ConformerConfig, WhisperConfig),
    "features": (KaldiFeatures, WhisperFeatures),
}
_BLOCKS: dict[str, tuple[type, ...]] = {
    **_KINDS,
    "adaptor": (AdaptorConfig,),
    "phoneme_head": (PhonemeHeadConfig,),
    "prompt": (PromptConfig,),
    "chunks": (ChunkScheme,),
    "decoding": (DecodingConfig,),
    "evidence": (EvidenceConfig,),
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


def _block(name: str, value: Any) -> Any:
    """A block's configuration, each value of the type that it is declared with."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be an object")
    kinds = _BLOCKS[name]
    cls = kinds[0]
    if name in _KINDS:
        value = dict(value)
        kind = value.pop("kind", cls.kind)  # type: ignore[attr-defined]
        known = {known.kind: known for known in kinds}  # type: ignore[attr-defined]
        if kind not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {str(kind)[:40]!r}")
        cls = known[kind]
    types = get_type_hints(cls)
    for key, setting in value.items():
        if key in types and not _is_of(setting, types[key]):
            raise TypeError(f"{name}.{key} must not be {str(setting)[:40]!r}")
    return cls(**value)


def _is_of(value: Any, declared: Any) -> bool:
    if get_origin(declared) in (Union, UnionType):
        return any(_is_of(value, kind) for kind in get_args(declared))
    if get_origin(declared) is Literal:
        return value in get_args(declared)
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
