"""Encoders, a file each, behind one interface (``base.py``)."""

from nim4asr.model.encoders.base import Encoder, State
from nim4asr.model.encoders.conformer import Conformer
from nim4asr.model.encoders.whisper import WhisperEncoder
from nim4asr.model.shapes import ConformerConfig, EncoderConfig

__all__ = ["Conformer", "Encoder", "State", "WhisperEncoder", "build_encoder"]


def build_encoder(config: EncoderConfig) -> Encoder:
    """The encoder of the given shape, with fresh weights."""
    return Conformer(config) if isinstance(config, ConformerConfig) else WhisperEncoder(config)
