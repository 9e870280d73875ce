"""Characters: which are Chinese, which scripts have no spaces between words, letters without accents."""

import re
import unicodedata

# A Chinese character, as a regular expression.
HAN = r"[\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]"
# Marks and letters of scripts in which no space divides the words of a sentence, or none divides a name from
# the particle behind it: Chinese characters and 々, kana, bopomofo, Hangul, Thai, Lao, Burmese, Khmer.
SPACELESS = (
    rf"(?:{HAN}|[\u3005\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf"
    r"\u31f0-\u31ff\uff66-\uff9f\u1100-\u11ff\uac00-\ud7af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\uf900-\ufaff])"
)
_SPACELESS = re.compile(SPACELESS)
# Latin letters that are no letter a-z with an accent.
_FOLDED = str.maketrans(
    {
        "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O",
        "ł": "l", "Ł": "L",
        "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ħ": "h", "Ħ": "H", "ı": "i", "ŋ": "ng",
        "Ŋ": "NG", "ŧ": "t", "Ŧ": "T", "ſ": "s", "ə": "a", "Ə": "A", "ƒ": "f",
    }
)  # fmt: skip


def is_han(character: str) -> bool:
    """Whether ``character`` is a Chinese character (CJK ideographs, extensions and 〇)."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or "\U00020000" <= character <= "\U000323af"
        or character == "〇"
    )


def is_spaceless(character: str) -> bool:
    """Whether ``character`` is of a script in which a name may stand in the middle of a run of letters:
    Chinese, Japanese, Korean (particles follow without a space), Thai, Lao, Burmese, Khmer.
    """
    return not character.isascii() and _SPACELESS.match(character) is not None


def in_word(text: str, place: int) -> bool:
    """Whether ``place`` is inside a word that is written without spaces in it: a letter or digit on both
    sides, and neither of them of a script without spaces.
    """
    return 0 < place < len(text) and all(
        character.isalnum() and not is_spaceless(character) for character in text[place - 1 : place + 1]
    )


def fold(word: str) -> str:
    """``word``, of Latin letters, without accents: ``"Zürich"`` -> ``"Zurich"``, ``"Straße"`` ->
    ``"Strasse"``.
    """
    if word.isascii():
        return word
    apart = unicodedata.normalize("NFKD", word.translate(_FOLDED))
    return "".join(c for c in apart if not unicodedata.combining(c))
