"""The grammars of WeTextProcessing, by the package wetext: numbers as they are said, and back."""

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from wetext import Normalizer

Language = Literal["zh", "en"]


@lru_cache(maxsize=16_384)
def as_said(text: str, language: Language) -> str | None:
    """``text`` with its numbers in words, by the grammar alone; None where it has no rule for the text."""
    return _by_grammar(text, language, "tn")


@lru_cache(maxsize=16_384)
def in_digits(text: str, language: Language) -> str | None:
    """``text`` with its numbers in digits, by the grammar alone; None where it has no rule for the text."""
    return _by_grammar(text, language, "itn")


def _by_grammar(text: str, language: Language, operator: Literal["tn", "itn"]) -> str | None:
    try:
        found: str = _normalizer(language, operator).normalize(text)
    except AssertionError:
        return None
    return found


@cache
def _normalizer(language: Language, operator: Literal["tn", "itn"]) -> "Normalizer":
    from wetext import Normalizer

    return Normalizer(lang=language, operator=operator)
