"""Text and phonemes: the table, Mandarin, English."""

from nim4asr.phonemes.inventory import BLANK, TABLE, PhonemeTable
from nim4asr.phonemes.pronunciation import (
    Token,
    pronounce,
    pronunciations,
    settled,
    tokenize,
)

__all__ = [
    "BLANK",
    "TABLE",
    "PhonemeTable",
    "Token",
    "pronounce",
    "pronunciations",
    "settled",
    "tokenize",
]
