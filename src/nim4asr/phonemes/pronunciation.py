"""Text to phonemes, both languages mixed.

A text is cut into tokens: one Chinese character or one English word each. Every token knows where
it stands in the text, so that phoneme times become word times.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, product
from typing import TYPE_CHECKING, Literal

from nim4asr.phonemes import english, mandarin

if TYPE_CHECKING:
    from wetext import Normalizer

Phonemes = tuple[str, ...]

# Letters of the Latin script, accents included; what they are without accents, ``english.fold`` knows.
_LATIN = (
    r"[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u036f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a]"
)
_WORD = re.compile(rf"{_LATIN}+(?:['’]{_LATIN}+)*")
_HAN = rf"{mandarin.HAN}+"
_NUMBERLIKE = re.compile(r"[0-9０-９$€£¥%℃°]")
_NUMBER = re.compile(r"([$€£¥]?)([0-9]+(?:[.,][0-9]+)*)([%℃°$€£¥]?)")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_DIGITS = "zero one two three four five six seven eight nine".split()
# The normalizer takes time in proportion to the square of a text's length; longer texts go through it in pieces.
_LONGEST_PIECE = 80


@dataclass(frozen=True)
class Token:
    """One character of Chinese or one word of English, with its sound.

    ``start`` and ``end`` are its place in the spoken text; ``phonemes`` is empty when the table has
    no sound for it (another script).
    """

    text: str
    start: int
    end: int
    phonemes: Phonemes


def spoken_form(text: str) -> str:
    """``text`` with digits, dates, amounts and units written as they are said.

    Chinese rules when the text holds a Chinese character, English ones otherwise:
    ``"3.5元"`` -> ``"三点五元"``, ``"$3"`` -> ``"three dollars"``. Every string has a spoken form; what stands in it
    for code points that are no characters (surrogates) is U+FFFD.
    """
    if not text.isascii():
        text = _SURROGATES.sub("\ufffd", "".join(map(_plain_number, text)))
    if not _NUMBERLIKE.search(text):
        return text
    language: Literal["zh", "en"] = "zh" if any(map(mandarin.is_han, text)) else "en"
    if len(text) <= _LONGEST_PIECE:
        return _normalized(text, language)
    return " ".join(_normalized(piece, language) for piece in _pieces(text))


def _plain_number(character: str) -> str:
    """A digit of another script, a fraction, a number in a circle, in the digits 0 to 9."""
    if character.isascii() or not character.isnumeric() or mandarin.is_han(character):
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
        spoken: str = _normalizer(language).normalize(text)
    except AssertionError:
        return None
    return spoken


def _spoken_number(found: re.Match[str]) -> str:
    """One number, with its unit if it has one, and with a space towards letters beside it."""
    before, number, after = found.groups()
    if after in tuple("$€£¥") and not before:
        before, after = after, ""
    tries = (_parsed(one, "en") for one in (f"{before}{number}{after}", number))
    spoken = next((one for one in tries if one is not None), None)
    if spoken is None:
        spoken = " ".join(_DIGITS[int(digit)] for digit in number if digit.isdigit())
    text, start, end = found.string, found.start(), found.end()
    left = " " if start and text[start - 1].isalnum() else ""
    right = " " if end < len(text) and text[end].isalnum() else ""
    return f"{left}{spoken}{right}"


@cache
def _normalizer(language: Literal["zh", "en"]) -> "Normalizer":
    from wetext import Normalizer

    return Normalizer(lang=language, operator="tn")


def tokenize(text: str) -> list[Token]:
    """Tokens of ``text`` in order, each with its likeliest pronunciation.

    ``text`` must be in its spoken form; punctuation, space and symbols are no tokens. A character
    with no known sound, or of another script, becomes a token with no phonemes.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        character = text[position]
        if mandarin.is_han(character):
            end = position + 1
            while end < len(text) and mandarin.is_han(text[end]):
                end += 1
            run = text[position:end]
            try:
                said: Sequence[Phonemes] = mandarin.read(run)
            except ValueError:
                # Each character alone, so that one rare character does not silence the others.
                said = [next(iter(mandarin.character_readings(c)), ()) for c in run]
            tokens.extend(
                Token(text[position + i], position + i, position + i + 1, phonemes)
                for i, phonemes in enumerate(said)
            )
            position = end
        elif word := _WORD.match(text, position):
            found = english.readings(english.fold(word.group()))
            tokens.append(Token(word.group(), position, word.end(), found[0] if found else ()))
            position = word.end()
        else:
            if character.isalnum():
                tokens.append(Token(character, position, position + 1, ()))
            position += 1
    return tokens


def settled(text: str) -> int:
    """The length of a prefix of ``text`` whose tokens are the same whatever follows, and apart from those of the rest:

        tokenize(spoken_form(text + more)) = tokenize(text[:settled]) + tokenize(spoken_form(text[settled:] + more))

    as long as ``more`` holds no number. 0 where the text holds one.
    """
    if not text or _NUMBERLIKE.search(text) or any(c.isnumeric() and not mandarin.is_han(c) for c in text):
        return 0
    start = len(text)
    if mandarin.is_han(text[-1]):
        while start and mandarin.is_han(text[start - 1]):
            start -= 1
        return start + mandarin.settled(text[start:])
    while start and not mandarin.is_han(text[start - 1]) and not text[start - 1].isspace():
        start -= 1
    return start


def in_word(text: str, place: int) -> bool:
    """Whether ``place`` is inside a word that is written without spaces in it: a letter or digit on both sides, and
    neither of them Chinese.
    """
    return 0 < place < len(text) and all(
        one.isalnum() and not mandarin.is_han(one) for one in text[place - 1 : place + 1]
    )


def pronounce(text: str) -> list[str]:
    """The likeliest phonemes of ``text``, digits read out.

    Raises ``ValueError`` if any part of it has no pronunciation in the table, naming that part.
    """
    tokens = tokenize(spoken_form(text))
    for token in tokens:
        if not token.phonemes:
            raise ValueError(f"no pronunciation is known for {token.text!r} in {text!r}")
    return [phoneme for token in tokens for phoneme in token.phonemes]


def pronunciations(text: str, limit: int = 8) -> list[list[str]]:
    """Up to ``limit`` different pronunciations of ``text``, the likeliest first.

    Characters with several readings vary where no dictionary phrase settles them; a word in capitals
    is said as a word and letter by letter; a dictionary word has all its dictionary pronunciations.
    Raises ``ValueError`` as ``pronounce`` does.
    """
    spoken = spoken_form(text)
    if spoken and all(map(mandarin.is_han, spoken)):
        # Most names are such, and there may be millions of them.
        return [list(chain.from_iterable(reading)) for reading in mandarin.read_all(spoken, limit)]
    parts: list[list[Phonemes]] = []
    for run in re.finditer(rf"({_WORD.pattern})|({_HAN})|\w", spoken):
        word, han = run.groups()
        if word is not None:
            parts.append(list(english.readings(english.fold(word))))
        elif han is not None:
            parts.append([tuple(chain.from_iterable(reading)) for reading in mandarin.read_all(han, limit)])
        elif run.group().isalnum():
            parts.append([])
        if parts and not parts[-1]:
            raise ValueError(f"no pronunciation is known for {run.group()!r} in {text!r}")
    found: dict[Phonemes, None] = {}
    for choice in islice(product(*parts), limit * 4):
        found[tuple(phoneme for part in choice for phoneme in part)] = None
        if len(found) == limit:
            break
    return [list(one) for one in found if one]
