"""The configuration of a whole network, as it is saved beside the weights."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nim4asr.errors import InputError
from nim4asr.model.adaptor import AdaptorConfig
from nim4asr.model.encoder import ChunkScheme, EncoderConfig
from nim4asr.model.phoneme_head import PhonemeHeadConfig
from nim4asr.model.prompt import PromptConfig
from nim4asr.phonemes import TABLE

FORMAT = 1


@dataclass(frozen=True)
class Nim4Config:
    """Every block's shape. ``llm`` is a Hugging Face model configuration with its ``model_type``.

    ``adaptor``, ``phoneme_head`` and ``llm`` are None in a checkpoint that holds the encoder alone, such as one
    imported from FireRedASR-AED. ``phonemes`` are the symbols of the phoneme head's outputs in order.
    """

    name: str
    encoder: EncoderConfig
    adaptor: AdaptorConfig | None = None
    phoneme_head: PhonemeHeadConfig | None = None
    llm: Mapping[str, Any] | None = None
    prompt: PromptConfig = field(default_factory=PromptConfig)
    chunks: ChunkScheme = field(default_factory=ChunkScheme)
    phonemes: tuple[str, ...] = TABLE.symbols

    def to_json(self) -> str:
        """The configuration as JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> "Nim4Config":
        """The inverse of ``to_json``; ``name`` is the file, for the message of an ``InputError``."""
        try:
            row = json.loads(text)
            version = row.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise InputError(f"{name}: this is not the configuration of a nim4asr model") from None
        if version != FORMAT:
            raise InputError(
                f"{name}: format {version} is newer than this program reads ({FORMAT}); upgrade nim4asr"
            )
        parts = {
            "encoder": EncoderConfig,
            "adaptor": AdaptorConfig,
            "phoneme_head": PhonemeHeadConfig,
            "prompt": PromptConfig,
            "chunks": ChunkScheme,
        }
        known = {f.name for f in fields(cls)}
        try:
            values = {
                key: parts[key](**value) if key in parts and value is not None else value
                for key, value in row.items()
                if key in known
            }
            values["phonemes"] = tuple(values["phonemes"])
            return cls(**values)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{name}: the configuration does not fit ({error})") from None
