"""Two long sequences of labels, of which one is mostly the other: which label is which.

First come anchors: runs of labels that both hold once, as many as stand in the same order. Between two of
them the best alignment is found by dynamic programming with affine gaps (Gotoh 1982), which cost much to open
and next to nothing to extend: what only one of the sequences holds is one long gap, and not scattered over
chance matches. Where a stretch between anchors is too large for that, only its ends are aligned.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]

# Runs of so many labels are anchors; the shorter ones where the longer ones leave too much.
_RUNS = (8, 6)
# Dynamic programming over no more cells than this, a byte each.
_MOST_CELLS = 16_000_000
# Of a stretch that is too large, so many labels at either end are aligned.
_EDGE = 1500

_MATCH, _MISMATCH, _OPEN, _EXTEND = 1.0, -1.0, -2.0, -0.02
_NONE = -1


def matched(ours: Labels, theirs: Labels) -> Labels:
    """For each of ``ours`` (N,) the place of the equal label in ``theirs`` (M,) that it is; -1 for those that
    have none. The places ascend.
    """
    partner = np.full(len(ours), _NONE, np.int64)
    _match(ours, theirs, 0, len(ours), 0, len(theirs), partner, _RUNS)
    return partner


def _match(
    ours: Labels,
    theirs: Labels,
    a: int,
    b: int,
    c: int,
    d: int,
    partner: Labels,
    runs: Sequence[int],
) -> None:
    """Match ours from ``a`` to ``b`` with theirs from ``c`` to ``d``."""
    if a == b or c == d:
        return
    if (b - a) * (d - c) <= _MOST_CELLS:
        partner[a:b] = _aligned(ours[a:b], theirs[c:d], c)
        return
    if not runs:
        half = min(_EDGE, (b - a) // 2), min(_EDGE, (d - c) // 2)
        for i, j in ((a, c), (b - half[0], d - half[1])):
            ends = i + half[0], j + half[1]
            partner[i : ends[0]] = _aligned(ours[i : ends[0]], theirs[j : ends[1]], j)
        return
    size, *shorter = runs
    last, other = a, c
    for i, j in [*_anchors(ours[a:b], theirs[c:d], size), (b - a, d - c)]:
        _match(ours, theirs, last, a + i, other, c + j, partner, shorter)
        if i < b - a:
            partner[a + i : a + i + size] = np.arange(c + j, c + j + size)
        last, other = a + i + size, c + j + size


def _anchors(ours: Labels, theirs: Labels, size: int) -> Iterator[tuple[int, int]]:
    """Where runs of ``size`` labels begin that each sequence holds once: the longest ascending sequence of
    them, none overlapping the one before.
    """
    first, second = _once(ours, size), _once(theirs, size)
    pairs = sorted((i, second[run]) for run, i in first.items() if run in second)
    # Patience sorting.
    tops: list[int] = []
    piles: list[int] = []
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        pile = bisect_left(tops, j)
        before.append(piles[pile - 1] if pile else _NONE)
        tops[pile : pile + 1] = [j]
        piles[pile : pile + 1] = [number]
    chain: list[tuple[int, int]] = []
    at = piles[-1] if piles else _NONE
    while at != _NONE:
        chain.append(pairs[at])
        at = before[at]
    i_free = j_free = 0
    for i, j in reversed(chain):
        if i >= i_free and j >= j_free:
            yield i, j
            i_free, j_free = i + size, j + size


def _once(labels: Labels, size: int) -> dict[bytes, int]:
    """The runs of ``size`` labels that occur once, and where."""
    small = labels.astype(np.uint8).tobytes()
    found: dict[bytes, int] = {}
    for place in range(len(small) - size + 1):
        run = small[place : place + size]
        found[run] = _NONE if run in found else place
    return {run: place for run, place in found.items() if place != _NONE}


def _aligned(ours: Labels, theirs: Labels, offset: int) -> Labels:
    """``matched`` by dynamic programming; places are told from ``offset`` on.

    Rows are ours, all of theirs are a row's columns. Gaps at the ends cost as any.
    """
    rows, columns = len(ours), len(theirs)
    slope = _EXTEND * np.arange(columns + 1)
    # Of each cell: whether its pair comes from a pair, a gap in ours or one in theirs; and whether each of
    # the gaps goes on there.
    steps = np.zeros((rows + 1, columns + 1), np.uint8)
    pair = np.full(columns + 1, -np.inf)
    pair[0] = 0.0
    # What only they have, and what only we have.
    across = np.full(columns + 1, -np.inf)
    across[1:] = _OPEN + slope[1:]
    steps[0, 2:] |= 4
    down = np.full(columns + 1, -np.inf)
    for row in range(1, rows + 1):
        best = np.stack([pair, across, down])
        came = best.argmax(axis=0).astype(np.uint8)
        top = best.max(axis=0)
        score = np.where(theirs == ours[row - 1], _MATCH, _MISMATCH)
        new_pair = np.full(columns + 1, -np.inf)
        new_pair[1:] = top[:-1] + score
        steps[row, 1:] = came[:-1]
        opened = np.maximum(pair, across) + _OPEN
        goes_on = down + _EXTEND > opened
        steps[row] |= goes_on.astype(np.uint8) << 3
        # Whether a gap that was opened here comes behind what only they have.
        steps[row] |= (~goes_on & (across > pair)).astype(np.uint8) << 4
        new_down = np.where(goes_on, down + _EXTEND, opened)
        # A gap from any column before: opened where that is best, extended from there.
        begun = np.full(columns + 1, -np.inf)
        begun[1:] = np.maximum(new_pair, new_down)[:-1] + _OPEN
        new_across = np.maximum.accumulate(begun - slope) + slope
        goes_on = np.zeros(columns + 1, bool)
        goes_on[1:] = new_across[1:] > begun[1:]
        steps[row] |= goes_on.astype(np.uint8) << 2
        steps[row, 1:] |= (~goes_on[1:] & (new_down[:-1] > new_pair[:-1])).astype(np.uint8) << 5
        pair, across, down = new_pair, new_across, new_down
    return _traced(steps, ours, theirs, int(np.argmax([pair[-1], across[-1], down[-1]])), offset)


def _traced(steps: NDArray[np.uint8], ours: Labels, theirs: Labels, state: int, offset: int) -> Labels:
    """The way back through the ``steps`` from the last cell, which is reached in ``state``: 0 of a pair, 1 of
    a gap in ours, 2 of one in theirs.
    """
    partner = np.full(len(ours), _NONE, np.int64)
    row, column = len(ours), len(theirs)
    while row and column:
        step = int(steps[row, column])
        if state == 0:
            if ours[row - 1] == theirs[column - 1]:
                partner[row - 1] = offset + column - 1
            row, column, state = row - 1, column - 1, step & 3
        elif state == 1:
            if not step & 4:
                state = 2 if step & 32 else 0
            column -= 1
        else:
            if not step & 8:
                state = 1 if step & 16 else 0
            row -= 1
    return partner
