"""The spoken form of a text: digits, dates, amounts, units, and the signs in names, in words.

A text may be said in several ways: ``spoken_form`` is the likeliest, which labels and error rates use;
``spoken_forms`` are all the ways in which a name may be said.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from typing import Literal

from nim4asr.text import chinese_numbers, english_numbers
from nim4asr.text.characters import HAN, is_han
from nim4asr.text.web_addresses import ENDINGS
from nim4asr.text.written import written_form as written_form

Language = Literal["zh", "en"]

# What makes a text one that is not said as it is written. Digits of other scripts are among these by then.
_SAID_OTHERWISE = re.compile(
    r"[0-9０-９$€£¥￥₹₩%‰℃℉°㎡№§&@^²³≤≥≠≈±√∞α-ωΑ-Ω]|[A-Za-z0-9][+#]|#[A-Za-z]|(?<![A-Za-z0-9.])\.[A-Za-z]{2}|://|www\."
    rf"|[A-Za-z0-9]\.(?:{ENDINGS}|uk|de|fr|eu|jp|tv|info)(?![A-Za-z])"
    # Titles, and Roman numerals.
    r"|(?<![A-Za-z])(?:Mr|Mrs|Dr|Prof|St|mr|mrs|dr|prof|MR|MRS|DR|PROF|vs|War|[IVX]{2,}|[VX]|I(?=[期型类级世]))(?![A-Za-z])"
    # A unit for each.
    r"|[元个块里米克升斤]/"
)
# The same of a text that is letters alone: Greek ones, and Roman numerals among Chinese characters.
_LETTERS_SAID = re.compile(rf"[α-ωΑ-Ω]|第[IVX]|[IVX](?={HAN})|(?<={HAN})[IVX]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_POWERS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_POWER = re.compile(r"(?<=[0-9)])⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+|(?<=[A-Za-z])[²³]")
# Between a number and the fraction behind it.
_MIXED = re.compile(r"(?<=[0-9])(?=[¼-¾⅐-⅞])")
# Thousands with points or apostrophes between, and a comma before what is less than one, as on the continent.
_CONTINENTAL = re.compile(
    r"(?<![\w.,'’])[1-9][0-9]{0,2}(?:(?:\.[0-9]{3}){2,}(?:,[0-9]+)?|\.[0-9]{3},[0-9]{1,2}|(?:['’][0-9]{3})+)"
    r"(?![0-9]|[.,'’][0-9])"
)
_COMMA_FOR_POINT = str.maketrans(".,'’", ",.,,")
_WIDE_MARK = re.compile(r"(?<=[0-9])[．，：／](?=[0-9])|(?<=[0-9])％|[＋＆＃](?=[A-Za-z0-9+])")
_DIGITS = re.compile(r"[0-9]+")
# More signs in a row are no text.
_PASSES = 5
# A number that is more than digits: it is read in one way.
_COMPOSED = re.compile(r"[0-9][.,:/^][0-9]")


def spoken_form(text: str, language: Language | None = None) -> str:
    """``text`` with digits, dates, amounts, units and the signs in its names written as they are said.

    By the rules of ``language``; unless it is given, those of Chinese when the text holds a Chinese
    character, English ones otherwise: ``"3.5元"`` -> ``"三点五元"``, ``"$3"`` -> ``"three dollars"``,
    ``"C++"`` -> ``"C plus plus"``. Every string has a spoken form; code points that are no characters
    (surrogates) become U+FFFD in it.
    """
    if text.isalpha() and not _LETTERS_SAID.search(text):
        return text
    if not text.isascii():
        text = plain_digits(_SURROGATES.sub("\ufffd", text))
    if not _SAID_OTHERWISE.search(text):
        return text
    text = _CONTINENTAL.sub(_by_commas, text)
    if language is None:
        language = "zh" if any(map(is_han, text)) else "en"
    say = chinese_numbers.say_chinese if language == "zh" else english_numbers.say_english
    # A sign beside one that was said before it: "√@3".
    for _ in range(_PASSES):
        said = say(text)
        if said == text or not _SAID_OTHERWISE.search(said):
            return said
        text = said
    return text


def spoken_forms(name: str) -> list[str]:
    """The ways in which a name may be said, the likeliest first, without it where it is said as written.

    Of a name with Chinese characters by the rules of Chinese; of another by those of both languages, which a
    speaker of Mandarin uses too: ``"5G"`` -> ``["five G", "五G"]``. Its digits are read as a number, in pairs
    and one by one: ``"C919"`` is said with 九一九, 九幺九, nine nineteen and nine one nine.
    """
    if not holds_number(name):
        return []
    chinese = list(_chinese_forms(name))
    if any(map(is_han, name)):
        return list(dict.fromkeys(form for form in chinese if form != name))
    both = chain.from_iterable(zip_longest(_english_forms(name), chinese))
    return list(dict.fromkeys(form for form in both if form is not None and form != name))


def holds_number(text: str) -> bool:
    """Whether any of ``text`` may be said otherwise than it is written."""
    if text.isalpha() and not _LETTERS_SAID.search(text):
        return False
    return bool(_SAID_OTHERWISE.search(text)) or any(c.isnumeric() and not is_han(c) for c in text)


def plain_digits(text: str) -> str:
    """``text`` with the digits of other scripts, fractions, numbers in circles and powers by the digits 0 to
    9, and full-width marks among them narrow: ``"10²"`` -> ``"10^2"``, ``"½"`` -> ``"1/2"``.
    """
    text = _POWER.sub(lambda found: "^" + found.group().translate(_POWERS), text)
    text = _MIXED.sub(" ", text)
    text = "".join(map(_plain_number, text)).replace("⁄", "/").replace("µ", "μ")
    return _WIDE_MARK.sub(lambda found: unicodedata.normalize("NFKC", found.group()), text)


def _by_commas(found: re.Match[str]) -> str:
    """``"1.234.567,8"`` -> ``"1,234,567.8"``; an IP address as it is."""
    number = found.group()
    parts = number.split(".")
    if len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts):
        return number
    return number.translate(_COMMA_FOR_POINT)


def _plain_number(character: str) -> str:
    """A digit of another script, a fraction, a number in a circle, in the digits 0 to 9."""
    if character.isascii() or not character.isnumeric() or is_han(character):
        return character
    digit = unicodedata.digit(character, None)
    return unicodedata.normalize("NFKC", character) if digit is None else str(digit)


def _english_forms(name: str) -> Iterator[str]:
    yield spoken_form(name, "en")
    if _COMPOSED.search(plain_digits(name)):
        return
    yield _with_digits_read(name, english_numbers.in_pairs, "en")
    yield _with_digits_read(name, english_numbers.one_by_one, "en")
    yield _with_digits_read(name, english_numbers.cardinal, "en")


def _chinese_forms(name: str) -> Iterator[str]:
    yield spoken_form(name, "zh")
    if _COMPOSED.search(plain_digits(name)):
        return
    yield _with_digits_read(name, chinese_numbers.one_by_one, "zh")
    yield _with_digits_read(name, lambda digits: chinese_numbers.one_by_one(digits, "幺"), "zh")
    yield _with_digits_read(name, chinese_numbers.cardinal, "zh")


def _with_digits_read(name: str, read: Callable[[str], str], language: Language) -> str:
    """The name with all its digits read in one way, and its signs as they are said."""

    def said(found: re.Match[str]) -> str:
        if language == "zh":
            return read(found.group())
        left = " " if name[: found.start()][-1:].isalnum() else ""
        right = " " if name[found.end() :][:1].isalnum() else ""
        return f"{left}{read(found.group())}{right}"

    name = plain_digits(name)
    return spoken_form(_DIGITS.sub(said, name), language)
