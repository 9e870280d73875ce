"""Text to phonemes, both languages mixed.

A text is cut into tokens: one Chinese character or one English word each. Every token knows where
it stands in the text, so that phoneme times become word times.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, product
from typing import TYPE_CHECKING, Literal

from nim4asr.phonemes import english, mandarin

if TYPE_CHECKING:
    from wetext import Normalizer

Phonemes = tuple[str, ...]

_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
_HAN = r"[\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]+"
_NUMBERLIKE = re.compile(r"[0-9０-９$€£¥%℃°]")


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
    ``"3.5元"`` -> ``"三点五元"``, ``"$3"`` -> ``"three dollars"``.
    """
    if not _NUMBERLIKE.search(text):
        return text
    language: Literal["zh", "en"] = "zh" if any(map(mandarin.is_han, text)) else "en"
    spoken: str = _normalizer(language).normalize(text)
    return spoken


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
            found = english.readings(word.group())
            tokens.append(Token(word.group(), position, word.end(), found[0] if found else ()))
            position = word.end()
        else:
            if character.isalpha():
                tokens.append(Token(character, position, position + 1, ()))
            position += 1
    return tokens


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
            parts.append(list(english.readings(word)))
        elif han is not None:
            parts.append([tuple(chain.from_iterable(reading)) for reading in mandarin.read_all(han, limit)])
        elif run.group().isalpha():
            parts.append([])
        if parts and not parts[-1]:
            raise ValueError(f"no pronunciation is known for {run.group()!r} in {text!r}")
    found: dict[Phonemes, None] = {}
    for choice in islice(product(*parts), limit * 4):
        found[tuple(phoneme for part in choice for phoneme in part)] = None
        if len(found) == limit:
            break
    return [list(one) for one in found if one]
