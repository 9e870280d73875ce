"""Names in the phoneme head's output: not in its best path alone, but in all that come close to it.

A token walks down the trie of toneless phonemes as the frames pass, one for every place at which a name may have
begun. It pays, in every frame t, what its phoneme s is less likely there than the likeliest:

    cost(t, s) = max over s' of log P(s' | t)  -  log P(s | t)

with P the head's posteriors, tones summed. A blank, a repetition and a step to a child follow CTC's rules, and of two
tokens in the same place the cheaper survives (Viterbi). The greedy path costs nothing, so an exact match of it has the
score 1; a token is given up when it has spent more than its phonemes allow. In silence, where no phoneme is anywhere
near the blank, no token begins.

The walk is compiled by numba: retrieval has a millisecond, and its steps depend on one another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nim4asr.hotwords.database import Database
from nim4asr.phonemes import BLANK, TABLE

Array = NDArray[Any]

# How many times more tokens a frame may make than are kept after it.
_ROOM = 4
_SOUNDS = len(TABLE)
# Row s has its one at the toneless form of s.
_PROJECTION = np.eye(_SOUNDS, dtype=np.float32)[list(TABLE.toneless)]


@dataclass(frozen=True)
class SearchConfig:
    """What a walk may spend, in nats: ``slack`` and ``rate`` a phoneme; no single frame more than ``dearest``.

    ``tokens`` walk at most at a time, the cheapest for their length. Names under ``shortest`` phonemes are not looked
    for. ``rate`` 0 and ``slack`` 0 is the greedy path's exact match.
    """

    slack: float = 1.0
    rate: float = 0.5
    dearest: float = 4.0
    tokens: int = 256
    shortest: int = 3


@dataclass(frozen=True)
class Match:
    """Node ``node`` of a trie was heard in the frames ``start`` to ``end``, at ``cost`` nats for ``phonemes``."""

    node: int
    start: int
    end: int
    cost: float
    phonemes: int


@dataclass
class Walk:
    """The tokens of one stream in one database, and the matches so far, each node's cheapest."""

    database: Database
    config: SearchConfig = field(default_factory=SearchConfig)
    frames: int = 0

    def __post_init__(self) -> None:
        self._tokens = np.zeros(_ROOM * self.config.tokens, _TOKEN)
        self._count = 0
        self._found = np.zeros((0, 5), np.float64)

    def feed(self, costs: Array) -> None:
        """Hear the next frames, of which ``costs`` (T, phonemes) are ``toneless_costs``."""
        if not len(costs) or len(self.database.labels) < 2:
            self.frames += len(costs)
            return
        config, database = self.config, self.database
        self._count, found = _walk(
            (database.labels, database.child, database.ends),
            costs,
            self.frames,
            self._tokens,
            self._count,
            config.tokens,
            config.slack,
            config.rate,
            config.dearest,
            config.shortest,
        )
        self.frames += len(costs)
        if len(found):
            self._found = _cheapest(np.concatenate([self._found, found]))

    def matches(self) -> list[Match]:
        """Every name heard so far, by place."""
        return [Match(int(n), int(s), int(e), float(c), int(d)) for n, s, e, c, d in self._found]


def toneless_costs(log_probs: Array) -> Array:
    """Costs (T, phonemes) of posteriors (T, phonemes), tones summed into their first; others cost infinitely."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.exp(log_probs) @ _PROJECTION)
    costs: Array = (logs.max(axis=1, keepdims=True) - logs).astype(np.float32)
    return costs


def certain(phonemes: Sequence[int]) -> Array:
    """Log posteriors (2 N, phonemes) that are sure of ``phonemes`` (N,): a blank and then a frame for each."""
    log_probs = np.full((2 * len(phonemes), _SOUNDS), -np.inf, np.float32)
    log_probs[::2, BLANK] = 0.0
    log_probs[np.arange(1, len(log_probs), 2), list(phonemes)] = 0.0
    return log_probs


def _cheapest(found: Array) -> Array:
    """Each node's cheapest match at each end of a second, so that a name said twice is found twice."""
    order = np.lexsort((found[:, 3], found[:, 0]))
    found = found[order]
    kept = []
    last_node, ends = -1.0, list[float]()
    for row in found:
        if row[0] != last_node:
            last_node, ends = row[0], []
        if all(row[1] >= end or row[2] <= start for start, end in zip(ends[::2], ends[1::2], strict=True)):
            kept.append(row)
            ends += [row[1], row[2]]
    return np.array(kept).reshape(-1, 5)


_TOKEN = np.dtype([("node", "i8"), ("start", "i8"), ("spent", "f4"), ("depth", "i4"), ("sounding", "?")])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _child(labels: Array, child: Array, node: int, label: int) -> int:
    """The child of ``node`` with this label, or -1."""
    low, high, last = np.int64(child[node]), np.int64(child[node + 1]), np.int64(child[node + 1])
    while low < high:
        middle = (low + high) // 2
        if labels[middle] < label:
            low = middle + 1
        else:
            high = middle
    return low if low < last and labels[low] == label else -1  # type: ignore[return-value]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _walk(
    trie: tuple[Array, Array, Array],
    costs: Array,
    offset: int,
    tokens: Array,
    count: int,
    most: int,
    slack: float,
    rate: float,
    dearest: float,
    shortest: int,
) -> tuple[int, Array]:
    """Move the first ``count`` of ``tokens`` over ``costs`` (T, phonemes), of which the first is frame ``offset``.

    Leaves the tokens in place; returns their number and the matches, (node, start, end, cost, phonemes) each.
    """
    labels, child, ends = trie
    moved = np.empty_like(tokens)
    # Which of ``moved`` stands at a node, by open addressing; emptied after every frame.
    mask = 1
    while mask < 4 * len(tokens):
        mask *= 2
    keys = np.full(mask, -1, np.int64)
    places = np.zeros(mask, np.int64)
    taken = np.zeros(len(tokens), np.int64)
    mask -= 1
    candidates = np.zeros(costs.shape[1], np.int64)
    found = np.zeros((256, 5))
    number = 0
    for t in range(costs.shape[0]):
        near = 0
        for sound in range(1, costs.shape[1]):
            if costs[t, sound] <= dearest:
                candidates[near] = sound
                near += 1
        fresh = 0
        # The root stands at every frame: token -1.
        for i in range(-1, count):
            here, began, paid, deep, loud = 0, offset + t, 0.0, 0, False
            if i >= 0:
                token = tokens[i]
                here, began, paid = token["node"], token["start"], token["spent"]
                deep, loud = token["depth"], token["sounding"]
            # A blank (-2), the same phoneme on (-1), or one of the next.
            for choice in range(-2, near):
                to, far, sounds = here, deep, choice != -2
                if choice == -2:
                    if i < 0:
                        continue
                    total = paid + costs[t, 0]
                elif choice == -1:
                    if not loud:
                        continue
                    total = paid + costs[t, labels[here]]
                else:
                    if loud and labels[here] == candidates[choice]:
                        continue
                    total = paid + costs[t, candidates[choice]]
                    far = deep + 1
                if total > slack + rate * far:
                    continue
                if choice >= 0:
                    to = _child(labels, child, here, candidates[choice])
                    if to < 0:
                        continue
                key = 2 * to + sounds
                slot = (key * 0x9E3779B1) & mask
                while keys[slot] != -1 and keys[slot] != key:
                    slot = (slot + 1) & mask
                if keys[slot] == -1:
                    if fresh == len(moved):
                        continue
                    keys[slot], places[slot], taken[fresh] = key, fresh, slot
                    fresh += 1
                elif moved[places[slot]]["spent"] <= total:
                    continue
                place = places[slot]
                moved[place]["node"], moved[place]["start"], moved[place]["spent"] = to, began, total
                moved[place]["depth"], moved[place]["sounding"] = far, sounds
                if choice >= 0 and far >= shortest and ends[to + 1] > ends[to]:
                    if number == len(found):
                        more = np.zeros((2 * number, 5))
                        more[:number] = found
                        found = more
                    found[number, 0], found[number, 1], found[number, 2] = to, began, offset + t + 1
                    found[number, 3], found[number, 4] = total, far
                    number += 1
        for i in range(fresh):
            keys[taken[i]] = -1
        limit = np.inf
        if fresh > most:
            # The cheapest for their length stay.
            worth = np.empty(fresh)
            for i in range(fresh):
                worth[i] = moved[i]["spent"] - rate * moved[i]["depth"]
            limit = np.partition(worth, most - 1)[most - 1]
        count = 0
        for i in range(fresh):
            if count < most and moved[i]["spent"] - rate * moved[i]["depth"] <= limit:
                tokens[count] = moved[i]
                count += 1
    return count, found[:number]
