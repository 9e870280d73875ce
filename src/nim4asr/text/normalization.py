"""One named normalization, applied to references and hypotheses alike before they are compared."""

import re
import unicodedata

from nim4asr.text.characters import HAN, is_han
from nim4asr.text.spoken import plain_digits, spoken_form

# Part of every report, so that two error rates are compared only when they count alike.
NAME = "nim4asr-plain-3: NFKC, lower case, numbers as spoken, no punctuation"

_APOSTROPHES = str.maketrans("’‘ʼ`", "''''")
# A word with its apostrophes and what joins its digits, or one mark; Chinese characters stand alone.
_WRITTEN = re.compile(rf"{HAN}|(?:(?!{HAN})\w)+(?:['.,:](?:(?!{HAN})\w)+)*|[^\w\s]")
# What makes a picture of the character before it: variation selectors, a key's frame.
_PICTURED = re.compile("[\ufe00-\ufe0f\u20e3]")
_LOOSE_APOSTROPHE = re.compile(r"(?<![a-z])'|'(?![a-z])")


def normalize(text: str) -> str:
    """``text`` without what an error rate should not count.

    ``"O’Neil paid $3!"`` -> ``"o'neil paid three dollars"``. No space stands beside a Chinese character.
    """
    text = _PICTURED.sub("", text)
    text = spoken_form(unicodedata.normalize("NFKC", plain_digits(text))).translate(_APOSTROPHES).lower()
    kept = "".join(
        c if c.isalnum() or unicodedata.category(c).startswith("M") or c == "'" else " " for c in text
    )
    words = _LOOSE_APOSTROPHE.sub(" ", kept).split()
    joined = words[0] if words else ""
    for word in words[1:]:
        joined += word if is_han(word[0]) or is_han(joined[-1]) else f" {word}"
    return joined


def written_tokens(text: str) -> list[str]:
    """What an error rate of the written form counts: case, digits and punctuation as they stand, a mark a
    token.

    ``"Hi, 小王!"`` -> ``["Hi", ",", "小", "王", "!"]``. Marks of the same meaning are the same:
    full-width ones are narrow (NFKC), typographic apostrophes straight.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    return _WRITTEN.findall(plain)


def tokens(text: str) -> list[str]:
    """What an error rate counts in ``text``, normalized first: Chinese characters and other words.

    ``"我用iPhone 手机"`` -> ``["我", "用", "iphone", "手", "机"]``.
    """
    spaced = "".join(f" {c} " if is_han(c) else c for c in normalize(text))
    return spaced.split()
