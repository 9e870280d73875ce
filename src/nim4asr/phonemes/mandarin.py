"""Mandarin text to phonemes, by pypinyin and its phrase dictionary; surnames by a table.

Polyphones are resolved by the longest dictionary phrase around them (银行 yín háng, 行走 xíng zǒu).
Tone sandhi is not applied: a character keeps its dictionary tone, so that a name has the same key
wherever it stands.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain, product, zip_longest

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

# Surnames that are not read as the character mostly is. In front of a name their reading comes first ...
_SURNAMES = dict(
    entry.split(":")
    for entry in (
        "单:shan4 仇:qiu2 区:ou1 查:zha1 解:xie4 任:ren2 曾:zeng1 朴:piao2 盖:ge3 缪:miao4 翟:zhai2 葛:ge3"
        " 牟:mu4 纪:ji3 肖:xiao1 覃:qin2 隗:wei3 郇:xun2 佴:nai4 乜:nie4 炅:gui4 甯:ning4 阚:kan4 冼:xian3"
        " 卜:bu3 薄:bo2 员:yun4 召:shao4 祭:zhai4 折:she2 种:chong2 句:gou1 撒:sa4 繁:po2 颉:xie2 於:yu1"
        " 粘:nian2 秘:bi4 适:kuo4 沓:ta4 澹:tan2"
    ).split()
)
# ... but behind the common one where most names that begin so are none of people: 华为, 乐高, 黑龙江.
_RARE_SURNAMES = dict(
    entry.split(":")
    for entry in (
        "华:hua4 乐:yue4 过:guo1 哈:ha3 黑:he4 能:nai4 燕:yan1 相:xiang4 占:zhan1 都:du1 干:gan1 重:chong2"
        " 角:jue2 藏:zang4 便:pian2 那:na1 观:guan4 冠:guan4 少:shao4 番:pan1 会:gui4 洗:xian3 宁:ning4"
        " 令:ling2 父:fu3 长:zhang3 行:xing2 强:qiang2 盛:sheng4 应:ying1 车:che1 费:bi4 万:wan4 尉:wei4"
    ).split()
)
_COMPOUND_SURNAMES = {
    "尉迟": "yu4 chi2", "万俟": "mo4 qi2", "令狐": "ling2 hu2", "澹台": "tan2 tai2", "长孙": "zhang3 sun1",
    "宰父": "zai3 fu3", "皇甫": "huang2 fu3", "单于": "chan2 yu2", "乐正": "yue4 zheng4",
    "段干": "duan4 gan1", "子车": "zi3 ju1", "夹谷": "jia2 gu3", "耶律": "ye1 lv4", "库狄": "she4 di2",
    "叱干": "chi4 gan1", "仇尼": "qiu2 ni2", "相里": "xiang4 li3", "中行": "zhong1 hang2",
    "吐谷浑": "tu3 yu4 hun2",
}  # fmt: skip
# A person's name is no longer.
_LONGEST_NAME = 4


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
def _phrase_openings() -> Mapping[str, int]:
    """The first two characters of every phrase that pypinyin knows, and the length of the longest one."""
    from pypinyin.constants import PHRASES_DICT

    longest: dict[str, int] = {}
    for phrase in PHRASES_DICT:
        opening = phrase[:2]
        longest[opening] = max(len(phrase), longest.get(opening, 0))
    return longest


def _phrase_end(text: str, start: int) -> int:
    """Where the longest dictionary phrase that begins at ``start`` ends; ``start`` if none does."""
    from pypinyin.constants import PHRASES_DICT

    longest = _phrase_openings().get(text[start : start + 2], 0)
    for end in range(min(len(text), start + longest), start + 1, -1):
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
    return _all_known(text, read_each(text))


def read_each(text: str) -> list[Phonemes]:
    """The same, with no phonemes for a character without a known reading: it silences no other."""
    return _read(text, [_phrase_end(text, start) for start in range(len(text))])


def _all_known(text: str, said: list[Phonemes]) -> list[Phonemes]:
    for character, phonemes in zip(text, said, strict=True):
        if not phonemes:
            raise ValueError(f"the character {character!r} has no known Mandarin reading")
    return said


def settled(text: str) -> int:
    """How many characters of the run ``text`` will be read as they are now whatever characters follow."""
    start = 0
    # The last character may be the first of a phrase that is still to come.
    while start + 1 < len(text):
        if start + _phrase_openings().get(text[start : start + 2], 0) > len(text):
            break
        start = max(_phrase_end(text, start), start + 1)
    return start


def _read(text: str, ends: Sequence[int]) -> list[Phonemes]:
    from pypinyin.constants import PHRASES_DICT

    said: list[Phonemes] = []
    while (start := len(said)) < len(text):
        end = ends[start]
        if end > start:
            said += (_marked_syllable(readings[0]) for readings in PHRASES_DICT[text[start:end]])
        else:
            said.append(next(iter(character_readings(text[start])), ()))
    return said


def read_all(text: str, limit: int, certain: str = "") -> list[list[Phonemes]]:
    """Up to ``limit`` readings of ``text``, the likeliest first.

    A character inside a dictionary phrase keeps the phrase's reading, and so does one of ``certain``; any
    other varies over all its dictionary readings.
    """
    ends = [_phrase_end(text, start) for start in range(len(text))]
    best = _all_known(text, _read(text, ends))
    inside = {place for start, end in enumerate(ends) for place in range(start, end)}
    inside |= {place for place, character in enumerate(text) if character in certain}
    options: list[Sequence[Phonemes]] = [
        (chosen,)
        if position in inside
        else (chosen, *(r for r in character_readings(text[position]) if r != chosen))
        for position, chosen in enumerate(best)
    ]
    return [list(choice) for choice, _ in zip(product(*options), range(limit), strict=False)]


def read_name(text: str, limit: int) -> list[list[Phonemes]]:
    """Up to ``limit`` readings of the name ``text``, the likeliest first: as ``read_all``, and with its first
    character, or characters, as a surname where it may be a person's: 单雄信 is shàn, not dān.
    """
    readings = read_all(text, limit)
    surname, first = _surname(text)
    if not surname:
        return readings
    rests = read_all(text[len(surname) :], limit)
    people = [[*surname, *rest] for rest in rests]
    groups = (people, readings) if first else (readings, people)
    mixed = chain.from_iterable(zip_longest(*groups))
    return list({tuple(reading): reading for reading in mixed if reading is not None}.values())[:limit]


def _surname(text: str) -> tuple[list[Phonemes], bool]:
    """The syllables of the surname that ``text`` may begin with, if it is not read as the dictionary has it,
    and whether that is the likelier reading.
    """
    if not 2 <= len(text) <= _LONGEST_NAME:
        return [], False
    for size in (3, 2):
        if pinyin := _COMPOUND_SURNAMES.get(text[:size]):
            return list(map(syllable, pinyin.split())), True
    pinyin = _SURNAMES.get(text[0]) or _RARE_SURNAMES.get(text[0])
    covered = _phrase_end(text, 0)
    # A word of the dictionary, 任务 or 单位, is nobody's name.
    if pinyin is None or covered == len(text):
        return [], False
    return [syllable(pinyin)], text[0] in _SURNAMES and not covered
