"""Connectionist temporal classification: the greedy path, forced alignment, prefix probabilities."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nim4asr.phonemes import BLANK

# So many nats below the likeliest, a probability adds nothing to a sum.
_NEGLIGIBLE = 40.0
# So many frames are computed before it is asked whether the rest matters.
_AT_ONCE = 64

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
    log_probs: NDArray[np.float32], labels: Sequence[int], floor: float = -12.0
) -> list[Span] | None:
    """The likeliest frames of each label (Viterbi over the CTC graph; Graves et al. 2006).

    ``log_probs`` (T, phonemes). No posterior counts for less than ``floor``, so that one phoneme the
    head never heard does not displace its neighbours. Returns a span a label, in order, or None if the
    labels do not fit into T frames.
    """
    frames = len(log_probs)
    repeats = sum(a == b for a, b in pairwise(labels))
    if not labels or len(labels) + repeats > frames:
        return None
    states = np.full(2 * len(labels) + 1, BLANK, np.int64)
    states[1::2] = labels
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


def extend_prefixes(
    log_probs: _Frames,
    in_phoneme: _Frames,
    in_blank: _Frames,
    last: NDArray[np.int64],
    label: NDArray[np.int64],
) -> tuple[_Frames, _Frames, _Frames]:
    """The forward variables (N, T + 1) of sequences that end in ``last`` (N,), with ``label`` (N,) after it,
    and their log probabilities (N,) to be begun (Graves et al. 2006).

    With e_t the log probability of entering the phoneme in frame t, and l_t, b_t those of staying in it and
    in blank,

        phoneme_(t+1) = log(exp(phoneme_t + l_t) + exp(e_t))
        blank_(t+1) = log(exp(phoneme_t) + exp(blank_t)) + b_t

    are linear recurrences, and so running sums once what each frame multiplies by is taken out.
    """
    rows, frames = len(label), len(log_probs)
    phoneme, blank = np.full((rows, frames + 1), -np.inf), np.full((rows, frames + 1), -np.inf)
    begun = np.full(rows, -np.inf)
    # A sequence has ended with some probability in few of the frames; none of the others can count.
    ended = np.maximum(in_phoneme[:, :-1], in_blank[:, :-1])
    near = (ended >= ended.max(axis=1, initial=-np.inf, keepdims=True) - _NEGLIGIBLE).any(axis=0).nonzero()[0]
    if not len(near):
        return phoneme, blank, begun
    # Between two equal phonemes there must be a blank.
    between = (label == last)[:, None]
    begin, last_near = int(near[0]), int(near[-1])
    most = np.full(rows, -np.inf)
    while begin < frames:
        end = min(begin + _AT_ONCE, frames)
        after = slice(begin + 1, end + 1)
        staying, waiting = log_probs[begin:end, label].T, log_probs[begin:end, BLANK]
        before = in_blank[:, begin:end]
        entered = np.where(between, before, np.logaddexp(before, in_phoneme[:, begin:end])) + staying
        begun = np.logaddexp(begun, np.logaddexp.reduce(entered, axis=1))
        phoneme[:, begin : end + 1] = _recurrence(phoneme[:, begin], staying, entered)
        blank[:, begin : end + 1] = _recurrence(blank[:, begin], waiting, phoneme[:, begin:end] + waiting)
        begin = end
        # Once nothing enters them any more and little of them is left, they are over.
        now = np.maximum(phoneme[:, begin], blank[:, begin])
        most = np.maximum(most, np.maximum(phoneme[:, after], blank[:, after]).max(axis=1))
        if begin > last_near and bool((now < most - _NEGLIGIBLE).all()):
            break
    return phoneme, blank, begun


def _recurrence(start: _Frames, factors: _Frames, summands: _Frames) -> _Frames:
    """x_(t+1) = log(exp(x_t + f_t) + exp(s_t)) from x_0 ``start`` (N,): (N, T + 1)."""
    total = np.broadcast_to(np.cumsum(factors, axis=-1), summands.shape)
    whole = np.concatenate([start[:, None], summands - total], axis=1)
    np.logaddexp.accumulate(whole, axis=1, out=whole)
    whole[:, 1:] += total
    return whole
