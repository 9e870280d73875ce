"""CTC: the greedy path, and when each phoneme of a known text was said."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nim4asr.phonemes import BLANK


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
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(skippable, np.concatenate([[-np.inf] * 2, score[:-2]]), -np.inf)
        choices = np.stack([stay, one, two])
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
