import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.phonemes.ctc import extend_prefixes, force_align, greedy_path


def posteriors(frames: int, labels: int, seed: int) -> np.ndarray:
    logits = np.random.default_rng(seed).standard_normal((frames, labels)).astype(np.float32)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_greedy_path_merges_and_drops() -> None:
    assert greedy_path([0, 1, 1, 0, 1, 2, 2, 0]) == [1, 1, 2]
    assert greedy_path([]) == []


def collapse(path: tuple[int, ...]) -> list[int]:
    return greedy_path(path)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 6),
    labels=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_alignment_is_the_best_of_all_paths(frames: int, labels: list[int], seed: int) -> None:
    log_probs = posteriors(frames, 3, seed)
    paths = [p for p in itertools.product(range(3), repeat=frames) if collapse(p) == labels]
    spans = force_align(log_probs, labels)
    if not paths:
        assert spans is None
        return
    assert spans is not None
    best = max(paths, key=lambda p: sum(log_probs[t, s] for t, s in enumerate(p)))
    runs = [(label, list(group)) for label, group in itertools.groupby(enumerate(best), lambda x: x[1])]
    expected = [(g[0][0], g[-1][0] + 1) for label, g in runs if label != 0]
    assert [(span.start, span.end) for span in spans] == expected


def test_a_phoneme_never_heard_does_not_displace_the_others() -> None:
    log_probs = np.full((9, 4), -60.0, np.float32)
    log_probs[:, 0] = 0.0
    log_probs[1, 1] = log_probs[7, 3] = 0.0
    log_probs[1, 0] = log_probs[7, 0] = -60.0
    spans = force_align(log_probs, [1, 2, 3])
    assert spans is not None
    assert spans[0].start == 1
    assert spans[2].start == 7


def test_a_long_text_is_aligned() -> None:
    labels = [1 + i % 2 for i in range(150)]
    spans = force_align(posteriors(400, 3, 0), labels)
    assert spans is not None
    assert len(spans) == 150
    assert all(one.end <= other.start for one, other in itertools.pairwise(spans))


def test_no_labels_no_spans() -> None:
    assert force_align(posteriors(5, 3, 0), []) is None


@settings(max_examples=80, deadline=None)
@given(
    frames=st.integers(1, 6),
    labels=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_prefixes_with_equal_phonemes_in_a_row(frames: int, labels: list[int], seed: int) -> None:
    """The forward variables of any sequence, against all paths: between two equal phonemes there is a
    blank.
    """
    logits = np.random.default_rng(seed).standard_normal((frames, 3))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    in_phoneme = np.full(frames + 1, -np.inf)
    in_blank = np.concatenate([[0.0], np.cumsum(log_probs[:, 0])])
    begun = 0.0
    for place, label in enumerate(labels):
        last = labels[place - 1] if place else 0
        # Beside another sequence, with which it must not mingle.
        both = (np.stack([one, one[::-1]]) for one in (in_phoneme, in_blank))
        found = extend_prefixes(log_probs, *both, np.array([last, 1]), np.array([label, 2]))
        in_phoneme, in_blank, begun = (one[0] for one in found)
    exactly = beginning = 0.0
    for path in itertools.product(range(3), repeat=frames):
        said = greedy_path(path)
        probability = float(np.exp(sum(log_probs[t, s] for t, s in enumerate(path))))
        exactly += probability * (said == labels)
        beginning += probability * (said[: len(labels)] == labels)
    assert np.exp(np.logaddexp(in_phoneme[-1], in_blank[-1])) == pytest.approx(exactly, abs=1e-9)
    assert np.exp(begun) == pytest.approx(beginning, abs=1e-9)
