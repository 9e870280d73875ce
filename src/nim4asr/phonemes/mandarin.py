"""Mandarin text to phonemes, by pypinyin and its phrase dictionary.

Polyphones are resolved by the longest dictionary phrase around them (银行 yín háng, 行走 xíng zǒu).
Tone sandhi is not applied: a character keeps its dictionary tone, so that a name has the same key
wherever it stands.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import product

from nim4asr.phonemes.inventory import FINALS, INITIALS

Phonemes = tuple[str, ...]

_FINALS = frozenset(FINALS)
# Hanyu Pinyin spells these finals short after an initial; the table holds the full forms.
_FULL_FORMS = {"iu": "iou", "ui": "uei", "un": "uen", "ue": "ve"}
# A syllable without an initial is spelt with y or w; its final is found here.
_ZERO_INITIAL = {
    **dict.fromkeys(("yi", "y"), "i"), "ya": "ia", "ye": "ie", "yao": "iao", "you": "iou",
    "yan": "ian", "yin": "in", "yang": "iang", "ying": "ing", "yong": "iong", "yo": "io",
    "wu": "u", "wa": "ua", "wo": "uo", "wai": "uai", "wei": "uei", "wan": "uan", "wen": "uen",
    "wang": "uang", "weng": "ueng", "wong": "ueng", "yu": "v", "yue": "ve", "yuan": "van",
    "yun": "vn", "yai": "ai", "ê": "ei", "eh": "ei",
    "m": "en", "n": "en", "ng": "en", "hm": "en", "hng": "en",
}  # fmt: skip


@cache
def syllable(pinyin: str) -> Phonemes:
    """Phonemes of one numbered pinyin syllable: ``"zhong1"`` -> ``("zh", "ong1")``.

    ``v`` or ``ü`` writes ü. A missing tone is the neutral one. Raises ``ValueError`` if the syllable
    is not Mandarin.
    """
    spelling, tone = (pinyin[:-1], pinyin[-1]) if pinyin[-1:].isdigit() else (pinyin, "5")
    spelling = spelling.lower().replace("ü", "v")
    final = _ZERO_INITIAL.get(spelling)
    if final is not None:
        return (f"{final}{tone}",)
    initial = next((i for i in (spelling[:2], spelling[:1]) if i in INITIALS), "")
    final = spelling[len(initial) :]
    if initial in ("j", "q", "x") and final.startswith("u"):
        final = "v" + final[1:]
    final = _FULL_FORMS.get(final, final)
    if final == "i" and initial in ("z", "c", "s"):
        final = "ix"
    elif final == "i" and initial in ("zh", "ch", "sh", "r"):
        final = "iy"
    if final not in _FINALS or tone not in "12345":
        raise ValueError(f"{pinyin!r} is not a pinyin syllable of Mandarin")
    return (initial, f"{final}{tone}") if initial else (f"{final}{tone}",)


@lru_cache(maxsize=100_000)
def character_readings(character: str) -> tuple[Phonemes, ...]:
    """All dictionary readings of one character, commonest first; empty if it has none."""
    from pypinyin import Style, pinyin

    found = pinyin(
        character,
        style=Style.TONE3,
        heteronym=True,
        neutral_tone_with_five=True,
        errors="ignore",
    )
    readings: dict[Phonemes, None] = {}
    for spelling in found[0] if found else ():
        try:
            readings[syllable(spelling)] = None
        except ValueError:
            continue
    return tuple(readings)


@cache
def _phrase_openings() -> frozenset[str]:
    """The first two characters of every phrase that pypinyin knows."""
    from pypinyin.constants import PHRASES_DICT

    return frozenset(phrase[:2] for phrase in PHRASES_DICT)


@cache
def _longest_phrase() -> int:
    from pypinyin.constants import PHRASES_DICT

    return max(map(len, PHRASES_DICT))


def _phrase_end(text: str, start: int) -> int:
    """Where the longest dictionary phrase that begins at ``start`` ends; ``start`` if none does."""
    from pypinyin.constants import PHRASES_DICT

    if text[start : start + 2] in _phrase_openings():
        for end in range(min(len(text), start + _longest_phrase()), start + 1, -1):
            if text[start:end] in PHRASES_DICT:
                return end
    return start


@cache
def _marked_syllable(pinyin: str) -> Phonemes:
    """Phonemes of a syllable as the phrase dictionary spells it: ``"zhōng"``."""
    from pypinyin.contrib.tone_convert import to_tone3

    return syllable(to_tone3(pinyin, neutral_tone_with_five=True))


def read(text: str) -> list[Phonemes]:
    """The likeliest reading of a run of Chinese characters, one syllable a character.

    From left to right the longest phrase of pypinyin's dictionary has its reading, any other character its
    commonest: what ``pypinyin.lazy_pinyin`` does, at a third of the time. Raises ``ValueError`` for a
    character without a known reading.
    """
    return _read(text, [_phrase_end(text, start) for start in range(len(text))])


def settled(text: str) -> int:
    """How many characters of the run ``text`` will be read as they are now whatever characters follow."""
    start = 0
    while start + _longest_phrase() <= len(text):
        start = max(_phrase_end(text, start), start + 1)
    return min(start, len(text))


def _read(text: str, ends: Sequence[int]) -> list[Phonemes]:
    from pypinyin.constants import PHRASES_DICT

    said: list[Phonemes] = []
    while (start := len(said)) < len(text):
        end = ends[start]
        if end > start:
            said += (_marked_syllable(readings[0]) for readings in PHRASES_DICT[text[start:end]])
        else:
            said.append(_first_reading(text[start]))
    return said


def _first_reading(character: str) -> Phonemes:
    readings = character_readings(character)
    if not readings:
        raise ValueError(f"the character {character!r} has no known Mandarin reading")
    return readings[0]


def read_all(text: str, limit: int) -> list[list[Phonemes]]:
    """Up to ``limit`` readings of ``text``, the likeliest first.

    A character inside a dictionary phrase keeps the phrase's reading; any other varies over all its
    dictionary readings.
    """
    ends = [_phrase_end(text, start) for start in range(len(text))]
    best = _read(text, ends)
    inside = {place for start, end in enumerate(ends) for place in range(start, end)}
    options: list[Sequence[Phonemes]] = [
        (chosen,)
        if position in inside
        else (chosen, *(r for r in character_readings(text[position]) if r != chosen))
        for position, chosen in enumerate(best)
    ]
    return [list(choice) for choice, _ in zip(product(*options), range(limit), strict=False)]
