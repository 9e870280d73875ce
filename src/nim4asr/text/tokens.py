"""Two texts that say the same, token by token: what is written in the one for what is said in the other."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nim4asr.text.characters import SPACELESS

_LETTER = rf"(?:(?!{SPACELESS})[^\W\d_])"
_TOKEN = re.compile(rf"{SPACELESS}|{_LETTER}+(?:['’]{_LETTER}+)*|\d+(?:[.,:]\d+)*")
# Longer texts are not compared: that takes memory in proportion to the product of their lengths.
_MOST_CELLS = 25_000_000


class TextToken(NamedTuple):
    """A character of a script without spaces, a word, or a number in digits, and where it begins."""

    text: str
    start: int


def tokens_of(text: str) -> list[TextToken]:
    """The tokens of ``text`` in order; marks and spaces are none."""
    return [TextToken(match.group(), match.start()) for match in _TOKEN.finditer(text)]


def aligned(written: Sequence[str], said: Sequence[str]) -> Iterator[tuple[range, range]]:
    """Which of ``written`` are which of ``said``: ranges of both, in order, that cover both. Equal ones pair
    one by one; what differs, as little as can be, pairs as ranges, one of which may be empty. Case does not
    count.
    """
    from rapidfuzz.distance import Levenshtein

    ours, theirs = ([text.casefold() for text in texts] for texts in (written, said))
    if ours == theirs:
        yield from ((range(i, i + 1), range(i, i + 1)) for i in range(len(ours)))
        return
    if len(ours) * len(theirs) > _MOST_CELLS:
        yield range(len(ours)), range(len(theirs))
        return
    # Neighbors that differ are one range: 一百二十 for 120.
    first, second = 0, 0
    for step in Levenshtein.opcodes(ours, theirs):
        if step.tag != "equal":
            continue
        if first < step.src_start or second < step.dest_start:
            yield range(first, step.src_start), range(second, step.dest_start)
        for i in range(step.src_end - step.src_start):
            yield (
                range(step.src_start + i, step.src_start + i + 1),
                range(step.dest_start + i, step.dest_start + i + 1),
            )
        first, second = step.src_end, step.dest_end
    if first < len(ours) or second < len(theirs):
        yield range(first, len(ours)), range(second, len(theirs))
