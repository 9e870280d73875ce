"""Which language a text is in, by its script."""

import re
from typing import Literal, get_args

from nim4asr.text.characters import is_han

# The languages that are recognized.
Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_LATIN = re.compile(r"[^\W\d_]+")
# Less than this share of another language does not make a text mixed.
_SHARE = 0.1


def language_of(text: str) -> Literal["zh", "en", "mixed", ""]:
    """The language of ``text``: Chinese characters count as many as words of Latin letters. Empty if it holds
    neither.
    """
    chinese = sum(map(is_han, text))
    english = sum(is_latin(run) for run in _LATIN.findall(_without_han(text)))
    both = chinese + english
    if not both:
        return ""
    if english < _SHARE * both:
        return "zh"
    return "en" if chinese < _SHARE * both else "mixed"


def is_latin(word: str) -> bool:
    """Whether a word begins with a Latin letter."""
    return word[0].isalpha() and word[0] < "\u0250"


def foreign_to(language: Language, text: str) -> bool:
    """Whether ``text`` holds a letter that no word of ``language`` has; digits and marks are of any."""
    if language == "en":
        # Python may not know yet that the newest Chinese characters are letters.
        return any(is_han(each) or (each.isalpha() and not is_latin(each)) for each in text)
    return any(each.isalpha() and not is_han(each) for each in text)


def _without_han(text: str) -> str:
    return "".join(" " if is_han(character) else character for character in text)
