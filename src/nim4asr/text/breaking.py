"""Where a text may be broken into lines, and where it reads best: for subtitles.

A break never stands inside a word, a number or a name. Words of Chinese are found by jieba's dictionary
(rjieba); numbers are also those in words ("one hundred and twenty", 三百二十五块). Which breaks are good
follows Netflix's guides for timed text: behind punctuation first, then before conjunctions and prepositions;
not between an article, a preposition or an auxiliary and what it belongs to; no line begins with 的 or 吗.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from nim4asr.text.characters import HAN, SPACELESS, is_han

# How many characters of English are as wide as so many of Chinese in a line: 42 and 18 in Netflix's guides.
_NARROW, _WIDE = 3, 7
# What is read in a second: 17 characters of English, 9 of Chinese.
_NARROW_RATE, _WIDE_RATE = 17.0, 9.0

_SENTENCE_END = frozenset(".!?。！？…")
_CLAUSE_END = frozenset(",;:，；：、—–")
# A line does not begin with these, and does not end with those.
_CLOSING = frozenset(".!?,;:)]}%‰°℃”’»›、。，．！？；：）》〉」』】〕…—–·％～々ー")
_OPENING = frozenset("([{“‘«‹（《〈「『【〔·$￥¥€£#＃＠@")
_NUMERALS = frozenset("零〇一二两三四五六七八九十百千万亿幺点")
# A mark that stands alone in Chinese text, between two breaks.
_MARKS = r"[，。！？；：、（）《》〈〉「」『』【】〔〕…—～]"
_TOKEN = re.compile(rf"{HAN}+|{SPACELESS}|{_MARKS}|(?:(?!{SPACELESS}|{_MARKS})\S)+")
_NUMBER_WORD = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    "|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand"
    "|million|billion|trillion|point|oh|hundredth|thousandth|first|second|third|fourth|fifth|sixth|seventh"
    "|eighth|ninth|tenth|half"
)
# A number in several words or groups of digits, with what counts it: "3 000 000", "twenty five percent".
_NUMBERS = re.compile(
    rf"\b(?:\d[\d.,:]*|{_NUMBER_WORD})(?:(?: and)?[ -](?:\d[\d.,:]*|{_NUMBER_WORD})\b)+"
    r"|\b\d[\d.,:]* (?:percent|per cent|[kKmMgGtT]?(?:m|g|B|Hz|W)|am|pm|a\.m\.|p\.m\.)\b",
    re.IGNORECASE,
)
# A figure with its Chinese measure, and an ordinal.
_MEASURED = re.compile(rf"第?[\d.,]+%?(?![的了吗吧呢啊是和在]){HAN}")

# English words before which a clause or a phrase begins.
_OPENERS = frozenset(
    "and but or nor so yet because although though while when where if unless until since that which who whom"
    " whose than as after before then however therefore".split()
)
_PREPOSITIONS = frozenset(
    "of in on at to for from with by about into over under through between during without against among"
    " around behind beyond near toward towards upon within".split()
)
# English words that belong to what follows.
_BINDING = frozenset(
    "a an the my your his her its our their this these those some any no every each i you he she it we they"
    " is are was were be been being am do does did have has had will would can could shall should may might"
    " must not very too more most mr mrs ms dr let's i'm it's there's".split()
) | (_OPENERS | _PREPOSITIONS)
# Chinese words before which a clause begins.
_CHINESE_OPENERS = frozenset(
    "但是 但 可是 不过 然而 因为 所以 因此 于是 而且 并且 而 如果 要是 假如 虽然 尽管 即使 只要 只有 除非"
    " 然后 接着 或者 还是 以及 同时 另外 此外 比如 例如 其实 那么 当 为了 由于 否则 不然 我们 你们 他们 她们"
    " 我 你 他 她 咱们 大家".split()
)
# Chinese words that belong to what follows, and those that belong to what went before.
_CHINESE_BINDING = frozenset(
    "在 从 对 把 被 向 往 给 跟 和 与 及 或 是 不 没 没有 很 太 更 最 也 都 就 又 再 还 会 能 要 想 可以"
    " 这 那 这个 那个 一个 每 各 第 为 以 用 让 叫 使 比 将 因为 如果 虽然 但是 所以 而且".split()
)
_CHINESE_TRAILING = frozenset(
    "的 地 得 了 着 过 们 吗 呢 吧 啊 呀 嘛 啦 哦 哈 里 上 下 中 内 外 后 前 时"
    " 时候 以后 以前 之后 之前 个 次".split()
)
# What a break costs: 0 the end of a sentence, 1 of a clause.
_CLAUSE, _OPENER, _PLAIN, _BOUND, _TRAILING = 1.0, 3.0, 6.0, 10.0, 14.0


@dataclass(frozen=True)
class Piece:
    """A part of a text, from ``start`` to ``end``, that no line break may stand in; ``cost`` is that of a
    break behind it, 0 where a sentence ends, more where it reads worse.
    """

    start: int
    end: int
    cost: float


def pieces(text: str, widest: int, whole: Sequence[tuple[int, int]] = ()) -> list[Piece]:
    """The pieces of ``text``, in order; between two of them stands a space or nothing.

    Places in ``whole`` are not broken either. A number or a name wider than ``widest`` (of ``width``) is
    broken between its words; a word never is.
    """
    words = _words(text)
    joins = [_joined(text, left, right) for left, right in pairwise(words)]
    groups = [match.span() for pattern in (_NUMBERS, _MEASURED) for match in pattern.finditer(text)]
    groups += [(start, end) for start, end in whole if width(text[start:end].strip()) <= widest]
    # How many numbers and names each place lies within.
    change = [0] * (len(text) + 2)
    for start, end in groups:
        if 0 <= start < end <= len(text):
            change[start + 1] += 1
            change[end] -= 1
    inside = list(accumulate(change))
    spans: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(words):
        if number and joins[number - 1]:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        first, last = kept[-1] if kept else (start, start)
        if kept and all(inside[last : start + 1]) and width(text[first:end]) <= widest:
            kept[-1] = (first, end)
        else:
            kept.append((start, end))
    found = [Piece(start, end, _cost(text, (start, end), after)) for (start, end), after in pairwise(kept)]
    if kept:
        found.append(Piece(*kept[-1], 0.0))
    return found


def width(text: str) -> int:
    """How wide ``text`` is in a line: 3 for a character of English, 7 for one of Chinese, so that 42 of the
    one are 18 of the other.
    """
    return sum(_WIDE if wide else _NARROW for wide in map(_is_wide, text) if wide is not None)


def line_width(characters: int) -> int:
    """The width of a line of so many characters of English."""
    return characters * _NARROW


def reading_s(text: str) -> float:
    """Seconds that it takes to read ``text``, at 17 characters of English or 9 of Chinese a second."""
    rates = (_WIDE_RATE if wide else _NARROW_RATE for wide in map(_is_wide, text) if wide is not None)
    return sum(1.0 / rate for rate in rates)


def ends_sentence(text: str) -> bool:
    """Whether a sentence ends at the end of ``text``."""
    return text.rstrip("\"'”’」』）)")[-1:] in _SENTENCE_END


def _is_wide(character: str) -> bool | None:
    """Whether a character is as wide as a Chinese one; None for marks on others, which take no room."""
    if character.isascii():
        return False
    if unicodedata.combining(character):
        return None
    return unicodedata.east_asian_width(character) in "WF"


def _words(text: str) -> list[tuple[int, int]]:
    """Where words and marks stand: what lies between two of them may be a break."""
    words: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        place = match.start()
        if is_han(match.group()[0]) and match.end() > place + 1:
            import rjieba

            for word in rjieba.cut(match.group()):
                words.append((place, place + len(word)))
                place += len(word)
        else:
            words.append(match.span())
    return words


def _joined(text: str, left: tuple[int, int], right: tuple[int, int]) -> bool:
    """Whether nothing may part two neighbors: they are a word and its mark, or a number."""
    if left[1] != right[0]:
        return False
    last, first = text[left[1] - 1], text[right[0]]
    if first in _CLOSING or last in _OPENING:
        return True
    return last in _NUMERALS and first in _NUMERALS


def _cost(text: str, left: tuple[int, int], right: tuple[int, int]) -> float:
    before, after = text[slice(*left)], text[slice(*right)]
    bare = before.rstrip("\"'”’」』）)")
    if bare[-1:] in _SENTENCE_END and not _is_abbreviation(bare):
        return 0.0
    if bare[-1:] in _CLAUSE_END:
        return _CLAUSE + (bare[-1:] == "、")
    last, first = before.split()[-1].lower(), after.split()[0].strip("\"'“‘(（").lower()
    if first in _CHINESE_TRAILING:
        return _TRAILING
    if last in _CHINESE_BINDING or last in _BINDING or _is_abbreviation(last):
        return _BOUND
    if first in _OPENERS or first in _CHINESE_OPENERS:
        return _OPENER
    if first in _PREPOSITIONS:
        return (_OPENER + _PLAIN) / 2
    return _PLAIN


def _is_abbreviation(word: str) -> bool:
    """Whether a full stop behind ``word`` ends no sentence: "Mr.", "J."."""
    bare = word.split()[-1].rstrip(".").lower() if word.strip(".… ") else ""
    return word.endswith(".") and (bare in ("mr", "mrs", "ms", "dr", "prof", "st", "vs") or len(bare) == 1)
