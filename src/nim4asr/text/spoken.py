"""The spoken form of a text: digits, dates, amounts and units in words, by WeTextProcessing's grammars."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Literal

from nim4asr.text.characters import is_han

if TYPE_CHECKING:
    from wetext import Normalizer

_NUMBERLIKE = re.compile(r"[0-9０-９$€£¥%℃°]")
_NUMBER = re.compile(r"([$€£¥]?)([0-9]+(?:[.,][0-9]+)*)([%℃°$€£¥]?)")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_DIGITS = "zero one two three four five six seven eight nine".split()
# The normalizer takes time in proportion to the square of a text's length; longer texts go through it in
# pieces.
_LONGEST_PIECE = 80


def spoken_form(text: str) -> str:
    """``text`` with digits, dates, amounts and units written as they are said.

    Chinese rules when the text holds a Chinese character, English ones otherwise:
    ``"3.5元"`` -> ``"三点五元"``, ``"$3"`` -> ``"three dollars"``. Every string has a
    spoken form; code points that are no characters (surrogates) become U+FFFD in it.
    """
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", "".join(map(_plain_number, text)))
    if not _NUMBERLIKE.search(text):
        return text
    language: Literal["zh", "en"] = "zh" if any(map(is_han, text)) else "en"
    if len(text) <= _LONGEST_PIECE:
        return _normalized(text, language)
    return " ".join(_normalized(piece, language) for piece in _pieces(text))


def written_form(text: str) -> str:
    """``text`` with spoken numbers, dates and amounts in digits (inverse text normalization).

    As WeTextProcessing's grammars have them: ``"我有一百二十块钱"`` -> ``"我有120块钱"``,
    ``"twenty five dollars"`` -> ``"$25"``.
    """
    language: Literal["zh", "en"] = "zh" if any(map(is_han, text)) else "en"
    try:
        written: str = _normalizer(language, "itn").normalize(text)
    except AssertionError:
        # The grammar has no rule for some texts.
        return text
    return written


def holds_number(text: str) -> bool:
    """Whether any of ``text`` may be said otherwise than it is written."""
    return bool(_NUMBERLIKE.search(text)) or any(c.isnumeric() and not is_han(c) for c in text)


def _plain_number(character: str) -> str:
    """A digit of another script, a fraction, a number in a circle, in the digits 0 to 9."""
    if character.isascii() or not character.isnumeric() or is_han(character):
        return character
    digit = unicodedata.digit(character, None)
    return unicodedata.normalize("NFKC", character).replace("⁄", "/") if digit is None else str(digit)


def _pieces(text: str) -> Iterator[str]:
    """``text`` in pieces of bounded length, cut between words where there are any."""
    piece = ""
    for word in text.split():
        for start in range(0, len(word), _LONGEST_PIECE):
            part = word[start : start + _LONGEST_PIECE]
            if piece and len(piece) + 1 + len(part) > _LONGEST_PIECE:
                yield piece
                piece = ""
            piece = f"{piece} {part}" if piece else part
    if piece:
        yield piece


def _normalized(text: str, language: Literal["zh", "en"]) -> str:
    spoken = _parsed(text, language)
    # The English grammar has no rule for some texts ("District #1", "50+", "10월"): then number by number.
    return _NUMBER.sub(_spoken_number, text) if spoken is None else spoken


def _parsed(text: str, language: Literal["zh", "en"]) -> str | None:
    try:
        spoken: str = _normalizer(language, "tn").normalize(text)
    except AssertionError:
        return None
    return spoken


def _spoken_number(found: re.Match[str]) -> str:
    """One number, with its unit if it has one, and with a space towards letters beside it."""
    before, number, after = found.groups()
    if after in tuple("$€£¥") and not before:
        before, after = after, ""
    tries = (_parsed(candidate, "en") for candidate in (f"{before}{number}{after}", number))
    spoken = next((candidate for candidate in tries if candidate is not None), None)
    if spoken is None:
        spoken = " ".join(_DIGITS[int(digit)] for digit in number if digit.isdigit())
    text, start, end = found.string, found.start(), found.end()
    left = " " if start and text[start - 1].isalnum() else ""
    right = " " if end < len(text) and text[end].isalnum() else ""
    return f"{left}{spoken}{right}"


@cache
def _normalizer(language: Literal["zh", "en"], operator: Literal["tn", "itn"]) -> "Normalizer":
    from wetext import Normalizer

    return Normalizer(lang=language, operator=operator)
