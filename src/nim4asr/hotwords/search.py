"""Names in the phoneme head's output: not in its best path alone, but in all that come close to it.

A token walks down the trie of toneless sounds as the frames pass, one for every place at which a name may
have begun. It pays, in every frame t, what its sound s is less likely there than the likeliest:

    cost(t, s) = max over s' of log P(s' | t)  -  log P(s | t)

with P the head's posteriors, tones summed. A blank, a repetition and a step to a child follow CTC's rules,
and of two tokens in the same place the cheaper survives (Viterbi). The greedy path costs nothing, so an exact
match of it has the score 1; a token is given up when it has spent more than its sounds allow. In silence,
where no sound is anywhere near the blank, no token begins.

The walk is compiled (``nim4asr.hotwords.kernels``): retrieval has a millisecond, and its steps depend on one
another. It is one function: with the end of a frame in another it took a fifth longer, with a move's in a
third two fifths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.hotwords.ascending import BLOCK_BITS
from nim4asr.hotwords.database import NAME_ENDS, SOUND, Database
from nim4asr.hotwords.kernels import Kernels
from nim4asr.phonemes import BLANK, TABLE

Array = NDArray[Any]

# Where the sounds begin in the phoneme table: the tones of one stand together.
_STARTS = np.append(np.flatnonzero(np.diff(TABLE.toneless, prepend=-1)), len(TABLE))
# So many nats below the likeliest, a sound's cost is no longer computed.
_FAR = 8.0
# Above this log posterior of the blank, no sound is near enough to be heard.
_SILENT = -0.001
# A log probability of what does not happen.
_NEVER = -20.0
# How many times more tokens a frame may make than are kept after it.
_ROOM = 8
# Places in the table of the moved tokens, for each of them: few are tried in vain.
_SLOTS = 4


@dataclass(frozen=True)
class SearchConfig:
    """What a token may spend on its way down the trie, in nats.

    ``cost_budget`` 0 and ``cost_per_phoneme`` 0 is the exact match of the greedy path.
    """

    cost_budget: float = 1.0
    """Once."""
    cost_per_phoneme: float = 0.5
    """And for each of its phonemes."""
    max_frame_cost: float = 2.5
    """At most so much in a single frame."""
    beam_width: int = 64
    """So many tokens walk at most at a time, the cheapest for their length."""
    min_phonemes: int = 3
    """Shorter names are not looked for."""
    min_log_odds: float = -1.0
    """Hits whose evidence cannot reach this are not reported."""


@dataclass(frozen=True)
class Match:
    """Node ``node`` of a trie was heard in the frames ``start`` to ``end``, at ``cost`` nats for
    ``phonemes``.
    """

    node: int
    start: int
    end: int
    cost: float
    phonemes: int


@dataclass
class TrieSearch:
    """The tokens of one stream in one database, and the matches so far, of a name's that overlap the
    cheapest.

    A match of n phonemes at cost c is told if ``gain`` n - ``loss`` c reaches ``least``.
    """

    database: Database
    config: SearchConfig = field(default_factory=SearchConfig)
    gain: float = 0.0
    loss: float = 0.0
    least: float = 0.0
    frames: int = 0

    def __post_init__(self) -> None:
        room = _ROOM * self.config.beam_width
        self._state = (
            np.zeros(room, np.int32),
            np.zeros(room, np.int32),
            np.zeros(room, np.int32),
            np.zeros(room, np.bool_),
            np.zeros(room, np.float32),
        )
        self._count = 0
        self._found = np.zeros((64, 5))
        self._number = 0

    def feed(self, costs: Array) -> None:
        """Hear the next frames, of which ``costs`` (T, sounds) are ``toneless_costs``."""
        if len(costs) and len(self.database.labels) > 1:
            config, database = self.config, self.database
            self._count, self._found, self._number = KERNELS(
                "_walk",
                (database.labels, *database.child, database.roots),
                costs,
                self.frames,
                self._state,
                self._count,
                self._found,
                self._number,
                (config.cost_budget, config.cost_per_phoneme, config.max_frame_cost),
                (self.gain, self.loss, self.least),
                (config.beam_width, config.min_phonemes),
            )
        self.frames += len(costs)

    @property
    def found(self) -> Array:
        """The matches so far, (node, start, end, cost, phonemes) each, in no particular order."""
        return self._found[: self._number]

    def matches(self) -> list[Match]:
        """The matches so far, in no particular order."""
        return [Match(int(n), int(s), int(e), float(c), int(d)) for n, s, e, c, d in self.found.tolist()]


def toneless_costs(log_probs: Array) -> Array:
    """Costs (T, sounds) of log posteriors (T, phonemes), the tones of a sound summed; infinite for what is
    far off.
    """
    costs: Array = KERNELS("_toneless", np.ascontiguousarray(log_probs, np.float32), _STARTS)
    return costs


def certain(phonemes: Sequence[int]) -> Array:
    """Log posteriors (2 N, phonemes) that are sure of ``phonemes`` (N,): a blank and then a frame for
    each.
    """
    log_probs = np.full((2 * len(phonemes), len(TABLE)), _NEVER, np.float32)
    log_probs[::2, BLANK] = 0.0
    log_probs[np.arange(1, len(log_probs), 2), list(phonemes)] = 0.0
    return log_probs


def _toneless(log_probs: Array, starts: Array) -> Array:
    frames, sounds = len(log_probs), len(starts) - 1
    costs = np.full((frames, sounds), np.inf, np.float32)
    for t in range(frames):
        row = log_probs[t]
        if row[0] > _SILENT:
            costs[t, 0] = 0.0
            continue
        # Most of a row is so unlikely that its exponential need not be known.
        floor = row.max() - _FAR
        best = np.float32(0.0)
        for sound in range(sounds):
            total = np.float32(0.0)
            for phoneme in range(starts[sound], starts[sound + 1]):
                if row[phoneme] > floor:
                    total += np.exp(row[phoneme])
            if total > 0:
                costs[t, sound] = total
                best = max(best, total)
        for sound in range(sounds):
            if costs[t, sound] != np.inf:
                costs[t, sound] = np.log(best / costs[t, sound])
    return costs


def _child(labels: Array, low: Any, last: Any, label: int) -> Any:
    """Which of the nodes from ``low`` to ``last``, in the order of their labels, has this one; -1 if none."""
    high = last
    while low < high:
        middle = (low + high) // 2
        if labels[middle] & SOUND < label:
            low = middle + 1
        else:
            high = middle
    return low if low < last and labels[low] & SOUND == label else -1


def _slot(keys: Array, key: Any) -> Any:
    """Where ``key`` stands among ``keys``, or the free place (-1) that is its own."""
    slot = (key * 0x9E3779B1 >> 7) % len(keys)
    while keys[slot] != -1 and keys[slot] != key:
        slot = slot + 1 if slot + 1 < len(keys) else 0
    return slot


def _tell(
    found: Array, number: int, latest: Any, match: tuple[float, float, float, float, float]
) -> tuple[Array, int]:
    """Add a match to the first ``number`` rows of ``found``: of one node's that overlap, the cheapest stays.

    ``latest`` says where a node's last match stands.
    """
    node, start, end, cost, phonemes = match
    row = number
    if np.int64(node) in latest:
        known = latest[np.int64(node)]
        if start < found[known, 2]:
            if found[known, 3] <= cost:
                return found, number
            row = known
    if row == number:
        if number == len(found):
            more = np.zeros((2 * number, found.shape[1]))
            more[:number] = found
            found = more
        latest[np.int64(node)] = np.int64(number)
        number += 1
    found[row, 0], found[row, 1], found[row, 2] = node, start, end
    found[row, 3], found[row, 4] = cost, phonemes
    return found, number


def _walk(
    trie: tuple[Array, Array, Array, Array],
    costs: Array,
    offset: int,
    state: tuple[Array, ...],
    count: int,
    found: Array,
    number: int,
    limits: tuple[float, float, float],
    worth: tuple[float, float, float],
    sizes: tuple[int, int],
) -> tuple[int, Array, int]:
    """Move the first ``count`` tokens of ``state`` over ``costs`` (T, sounds), the first of which is frame
    ``offset``.

    Leaves the tokens in place; adds the matches to the first ``number`` rows of ``found``, (node, start, end,
    cost, phonemes) each. Returns the numbers of both, and ``found``, which may have grown.
    """
    labels, child, bases, roots = trie
    nodes, starts, depths, soundings, spents = state
    slack, rate, dearest = limits
    gain, loss, least = worth
    most, shortest = sizes
    room = len(nodes)
    m_node, m_start, m_depth = np.empty_like(nodes), np.empty_like(starts), np.empty_like(depths)
    m_sounding, m_spent = np.empty_like(soundings), np.empty_like(spents)
    # Which of the moved tokens stands at a node, by open addressing; emptied after every frame.
    keys = np.full(_SLOTS * room, -1, np.int64)
    places = np.empty(_SLOTS * room, np.int32)
    taken = np.empty(room, np.int32)
    candidates = np.empty(costs.shape[1], np.int32)
    # Where a node's last match stands in ``found``.
    latest: Any = {np.int64(-1): np.int64(-1)}
    for row in range(number):
        latest[np.int64(found[row, 0])] = row
    dear = np.empty(room, np.float32)
    settled = False
    for t in range(costs.shape[0]):
        frame = costs[t]
        near = 0
        for sound in range(1, len(frame)):
            if frame[sound] <= dearest:
                candidates[near] = sound
                near += 1
        # Between sounds the tokens wait, at no cost; only the first such frame tells them that the sound has
        # ended.
        if near == 0 and (count == 0 or settled):
            continue
        settled = near == 0
        fresh = 0
        # The last token is the root, from which a name may begin in any frame at no cost.
        for token in range(count + 1):
            root = token == count
            if root:
                node, own = 0, 0
                began, depth, sounding, spent = offset + t, 0, False, np.float32(0.0)
            else:
                node = nodes[token]
                own = labels[node] & SOUND
                began, depth, sounding, spent = starts[token], depths[token], soundings[token], spents[token]
            # As ``nim4asr.hotwords.ascending`` has them.
            first = np.int64(bases[node >> BLOCK_BITS]) + np.int64(child[node])
            last = np.int64(bases[(node + 1) >> BLOCK_BITS]) + np.int64(child[node + 1])
            by_candidate = root or (last - first) > 4 * near
            moves = near if by_candidate else last - first
            # Two moves before the children: the blank, and the same sound again.
            to: Any = 0
            for move in range(-2, moves):
                if move == -2:
                    if root:
                        continue
                    to, pay, sounds = node, frame[0], False
                elif move == -1:
                    if not sounding:
                        continue
                    to, pay, sounds = node, frame[own], True
                elif root:
                    to = np.int64(roots[candidates[move]])
                    if to < 0:
                        continue
                    pay, sounds = frame[candidates[move]], True
                elif by_candidate:
                    # A sound that follows itself needs a blank between.
                    if sounding and candidates[move] == own:
                        continue
                    to = _child(labels, first, last, candidates[move])
                    if to < 0:
                        continue
                    pay, sounds = frame[candidates[move]], True
                else:
                    to = first + move
                    label = labels[to] & SOUND
                    if sounding and label == own:
                        continue
                    pay, sounds = frame[label], True
                if pay > dearest:
                    continue
                far = depth + 1 if move >= 0 else depth
                total = spent + pay
                if total > slack + rate * far:
                    continue
                key = 2 * np.int64(to) + sounds
                slot = _slot(keys, key)
                if keys[slot] == -1:
                    if fresh == room:
                        continue
                    keys[slot], places[slot], taken[fresh] = key, fresh, slot
                    place = fresh
                    fresh += 1
                else:
                    place = places[slot]
                    if m_spent[place] <= total:
                        continue
                m_node[place], m_start[place], m_depth[place] = to, began, far
                m_sounding[place], m_spent[place] = sounds, total
                if move < 0 or far < shortest or labels[to] & NAME_ENDS == 0:
                    continue
                if gain * far - loss * total >= least:
                    match = (np.float64(to), float(began), float(offset + t + 1), float(total), float(far))
                    found, number = _tell(found, number, latest, match)
        for i in range(fresh):
            keys[taken[i]] = -1
        limit = np.float32(np.inf)
        if fresh > most:
            # The cheapest for their length stay.
            for i in range(fresh):
                dear[i] = m_spent[i] - rate * m_depth[i]
            limit = np.partition(dear[:fresh], most - 1)[most - 1]
        count = 0
        for i in range(fresh):
            if count < most and m_spent[i] - rate * m_depth[i] <= limit:
                nodes[count], starts[count], depths[count] = m_node[i], m_start[i], m_depth[i]
                soundings[count], spents[count] = m_sounding[i], m_spent[i]
                count += 1
    return count, found, number


# Reordered sums and maxima are computed several at a time.
KERNELS = Kernels(
    _toneless, _child, _slot, _tell, _walk, options={"_toneless": {"fastmath": {"reassoc", "nnan", "nsz"}}}
)
