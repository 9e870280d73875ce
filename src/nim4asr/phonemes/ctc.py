"""Connectionist temporal classification: the greedy path, forced alignment, prefix probabilities."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nim4asr.phonemes import BLANK

# A sequence that stays so long in one label that it has this probability is given up: 70 nats.
_NOTHING = 1e-30
# An exponent that is not too large yet.
_LARGEST = 600.0

_Frames = NDArray[np.float64]


class Span(NamedTuple):
    """Frames ``start`` to ``end`` (exclusive) of one label, and the mean of its log posteriors there."""

    start: int
    end: int
    log_probability: float


def greedy_path(frames: Sequence[int]) -> list[int]:
    """The labels of a frame-wise path: repeats merged, blanks taken out."""
    return [
        label
        for position, label in enumerate(frames)
        if label != BLANK and (position == 0 or frames[position - 1] != label)
    ]


def force_align(
    log_probs: NDArray[np.float32],
    labels: Sequence[int],
    floor: float = -12.0,
    blanks: Sequence[int] | None = None,
) -> list[Span] | None:
    """The likeliest frames of each label (Viterbi over the CTC graph; Graves et al. 2006).

    ``log_probs`` (T, phonemes). No posterior counts for less than ``floor``, so that one phoneme the
    head never heard does not displace its neighbours. ``blanks`` are the columns that tell what lies before
    each label and behind the last one, by default the blank's. Returns a span a label, in order, or None if
    the labels do not fit into T frames.
    """
    frames = len(log_probs)
    repeats = sum(a == b for a, b in pairwise(labels))
    if not labels or len(labels) + repeats > frames:
        return None
    states = np.full(2 * len(labels) + 1, BLANK, np.int64)
    states[1::2] = labels
    if blanks is not None:
        states[::2] = blanks
    # A blank may be skipped between two different labels.
    skippable = np.zeros(len(states), bool)
    skippable[3::2] = states[3::2] != states[1:-2:2]
    emissions = np.maximum(log_probs[:, states], floor)
    score = np.full(len(states), -np.inf, np.float64)
    score[:2] = emissions[0, :2]
    steps = np.zeros((frames, len(states)), np.int8)
    for frame in range(1, frames):
        stay = score
        step = np.concatenate([[-np.inf], score[:-1]])
        skip = np.where(skippable, np.concatenate([[-np.inf] * 2, score[:-2]]), -np.inf)
        choices = np.stack([stay, step, skip])
        steps[frame] = choices.argmax(axis=0)
        score = choices.max(axis=0) + emissions[frame]
    state = len(states) - (1 if score[-1] >= score[-2] else 2)
    path = np.zeros(frames, np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = state
        state -= int(steps[frame, state])
    spans = []
    for index in range(len(labels)):
        here = np.flatnonzero(path == 2 * index + 1)
        mean = float(emissions[here, 2 * index + 1].mean())
        spans.append(Span(int(here[0]), int(here[-1]) + 1, mean))
    return spans


def alignment_cost(log_probs: NDArray[Any], best: NDArray[Any], labels: NDArray[Any]) -> float:
    """What ``labels`` (N,) cost at least, by CTC's rules, over all of ``log_probs`` (T, phonemes).

    ``best`` (T,) is each frame's greatest. Plain loops, which ``nim4asr.hotwords.kernels`` compiles.
    """
    states = 2 * len(labels) + 1
    spent = np.full(states, np.inf)
    spent[1] = best[0] - log_probs[0, labels[0]]
    for t in range(1, len(log_probs)):
        for state in range(states - 1, -1, -1):
            here = spent[state]
            if state > 0:
                here = min(here, spent[state - 1])
            if state > 2 and state % 2 == 1 and labels[state // 2] != labels[state // 2 - 1]:
                here = min(here, spent[state - 2])
            symbol = 0 if state % 2 == 0 else np.int64(labels[state // 2])
            spent[state] = here + (best[t] - log_probs[t, symbol])
    return float(min(spent[states - 1], spent[states - 2]))


class Extended(NamedTuple):
    """Label sequences that have grown: their forward variables (N, T + 1), and the log probabilities (N,) of
    all that begins with each, and of it alone.
    """

    in_label: _Frames
    in_blank: _Frames
    begun: _Frames
    alone: _Frames


class ForwardVariables:
    """CTC's forward variables of label sequences over ``log_probs`` (T, labels), many at a time.

    They are a sequence's probabilities to have ended, after so many frames, in its last label and in blank
    (Graves et al. 2006), each divided by that of the likeliest path of any sequence up to there. So they need
    no logarithms, and nothing vanishes that is within 700 nats of that path.
    """

    def __init__(self, log_probs: NDArray[Any]) -> None:
        log_probs = np.asarray(log_probs, np.float64)
        best = log_probs.max(axis=1, initial=-np.inf)
        self._scale = np.concatenate([[0.0], np.cumsum(best)])
        self._emissions = np.ascontiguousarray(np.exp(log_probs - best[:, None]).T)
        # A sequence may wait in blank for long, and still go on.
        self._waiting = list(_products(self._emissions[BLANK : BLANK + 1], 0.0))
        self._staying = list(_products(self._emissions[BLANK + 1 :], _NOTHING))

    @property
    def of_nothing(self) -> tuple[_Frames, _Frames]:
        """The variables (T + 1,) of the empty sequence."""
        waiting = np.concatenate([[1.0], np.cumprod(self._emissions[BLANK])])
        return np.zeros_like(waiting), waiting

    def extend(
        self, in_label: _Frames, in_blank: _Frames, last: NDArray[np.int64], label: NDArray[np.int64]
    ) -> Extended:
        """The sequences with variables ``in_label`` and ``in_blank`` (N, T + 1) that end in ``last`` (N,),
        each with a ``label`` (N,) more.
        """
        # Between two equal labels there must be a blank.
        ended = np.where((label == last)[:, None], in_blank, in_blank + in_label)
        entered = ended[:, :-1] * self._emissions[label]
        stayed, left = np.zeros_like(in_label), np.zeros_like(in_blank)
        stayed[:, 1:] = entered
        _carry_on(stayed[:, 1:], ((size, products[label - BLANK - 1]) for size, products in self._staying))
        left[:, 1:] = stayed[:, :-1] * self._emissions[BLANK]
        _carry_on(left[:, 1:], self._waiting)
        with np.errstate(divide="ignore"):
            alone = np.log(stayed[:, -1] + left[:, -1]) + self._scale[-1]
            begun = self._total(entered)
        return Extended(stayed, left, begun, alone)

    def _total(self, entered: _Frames) -> _Frames:
        """The log probability (N,) to have entered in any frame."""
        if not entered.shape[1]:
            return np.full(len(entered), -np.inf)
        # Relative to the frame in which most have entered.
        peak = self._scale[1:][entered.argmax(axis=1)]
        weights = np.exp(np.minimum(self._scale[1:] - peak[:, None], _LARGEST))
        total: _Frames = np.log((entered * weights).sum(axis=1)) + peak
        return total


def _carry_on(values: _Frames, products: Iterable[tuple[int, _Frames]]) -> None:
    """Solve x_t = a_t x_(t-1) + s_t for all frames t at once: ``values`` (N, T) hold s, and then x.

    ``products`` are ``_products`` of a. After j of them x_t holds what s brought in its last 2^j frames. What
    s brought in the 2^j frames before these is in x, 2^j frames earlier: times the a since then, it is added.
    """
    for size, factors in products:
        values[:, size:] += factors[:, size:] * values[:, :-size]


def _products(factors: _Frames, least: float) -> Iterator[tuple[int, _Frames]]:
    """At each frame of ``factors`` (N, T) the product of the last 1, 2, 4, ... of them, while any is over
    ``least``.
    """
    size, products = 1, factors
    while size < factors.shape[1] and products.max() > least:
        yield size, products
        longer = np.zeros_like(products)
        np.multiply(products[:, size:], products[:, :-size], out=longer[:, size:])
        size, products = 2 * size, longer
