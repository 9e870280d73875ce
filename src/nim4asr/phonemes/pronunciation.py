"""Text to phonemes, both languages mixed.

A text is cut into tokens: one Chinese character or one English word each. Every token knows where
it stands in the text, so that phoneme times become word times.
"""

import re
from dataclasses import dataclass
from itertools import chain, islice, product, zip_longest

from nim4asr.phonemes import english, mandarin
from nim4asr.text.characters import HAN, fold, is_han
from nim4asr.text.spoken import holds_number, spoken_form, spoken_forms

Phonemes = tuple[str, ...]

# Letters of the Latin script, accents included; what they are without accents, ``fold`` knows.
_LATIN = (
    r"[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0300-\u036f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a]"
)
_WORD = re.compile(rf"{_LATIN}+(?:['’]{_LATIN}+)*")
_HAN = rf"{HAN}+"
_NUMBERS = "零一二三四五六七八九十百千万亿两幺点"


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


def tokenize(text: str) -> list[Token]:
    """Tokens of ``text`` in order, each with its likeliest pronunciation.

    ``text`` must be in its spoken form; punctuation, space and symbols are no tokens. A character
    with no known sound, or of another script, becomes a token with no phonemes.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        character = text[position]
        if is_han(character):
            end = position + 1
            while end < len(text) and is_han(text[end]):
                end += 1
            run = text[position:end]
            tokens.extend(
                Token(text[position + i], position + i, position + i + 1, phonemes)
                for i, phonemes in enumerate(mandarin.read_each(run))
            )
            position = end
        elif word := _WORD.match(text, position):
            found = english.readings(fold(word.group()))
            tokens.append(Token(word.group(), position, word.end(), found[0] if found else ()))
            position = word.end()
        else:
            if character.isalnum():
                tokens.append(Token(character, position, position + 1, ()))
            position += 1
    return tokens


def settled(text: str) -> int:
    """The length of a prefix of ``text`` whose tokens are the same whatever follows, and apart from those of
    the rest:

        tokenize(spoken_form(text + more))
            = tokenize(text[:settled]) + tokenize(spoken_form(text[settled:] + more))

    as long as ``text[settled:] + more`` holds nothing that is said otherwise than it is written, such as a
    number. 0 where the text does.
    """
    if not text or holds_number(text):
        return 0
    start = len(text)
    if is_han(text[-1]):
        while start and is_han(text[start - 1]):
            start -= 1
        return start + mandarin.settled(text[start:])
    while start and not is_han(text[start - 1]) and not text[start - 1].isspace():
        start -= 1
    return start


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
    """Up to ``limit`` different pronunciations of the name ``text``, the likeliest first.

    Characters with several readings vary where no dictionary phrase settles them, and the first one may be a
    surname; a word in capitals is said as a word and letter by letter; a dictionary word has all its
    dictionary pronunciations. Digits and signs are said in all the ways of ``spoken_forms``, those of
    Mandarin too in a name of Latin letters; each of them has its first pronunciation before any has its
    second. Raises ``ValueError`` as ``pronounce`` does.
    """
    spoken = spoken_form(text)
    if text and spoken == text and all(map(is_han, text)):
        # Most names are such, and there may be millions of them.
        return [list(chain.from_iterable(reading)) for reading in mandarin.read_name(text, limit)]
    forms = dict.fromkeys((spoken, *spoken_forms(text)))
    ways = [_pronunciations_of(form, text, limit) for form in forms]
    # As in running text first: there the 一 of 一百 changes its tone.
    plain = tuple(pronounce(text))
    found: dict[Phonemes, None] = {plain: None} if plain else {}
    for said in chain.from_iterable(zip_longest(*ways)):
        if said:
            found[said] = None
        if len(found) == limit:
            break
    return [list(phonemes) for phonemes in found]


def _pronunciations_of(spoken: str, text: str, limit: int) -> list[Phonemes]:
    """Pronunciations of ``text`` said as ``spoken``."""
    parts: list[list[Phonemes]] = []
    # What digits are said with has one reading: 一 is no yí, 六 no lù.
    certain = _NUMBERS if spoken != text else ""
    for run in re.finditer(rf"({_WORD.pattern})|({_HAN})|\w", spoken):
        word, han = run.groups()
        if word is not None:
            parts.append(list(english.readings(fold(word))))
        elif han is not None:
            readings = mandarin.read_all(han, limit, certain)
            parts.append([tuple(chain.from_iterable(reading)) for reading in readings])
        elif run.group().isalnum():
            parts.append([])
        if parts and not parts[-1]:
            raise ValueError(f"no pronunciation is known for {run.group()!r} in {text!r}")
    found: dict[Phonemes, None] = {}
    for choice in islice(product(*parts), limit * 4):
        found[tuple(phoneme for part in choice for phoneme in part)] = None
        if len(found) == limit:
            break
    return list(found)
