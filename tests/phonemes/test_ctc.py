import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.phonemes.ctc import ForwardVariables, force_align, greedy_path


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


def test_another_column_may_stand_between_labels() -> None:
    """A sound that belongs to no label is passed over where its column is allowed, and only there."""
    log_probs = np.full((8, 4), -9.0, np.float32)
    log_probs[[0, 2, 3, 4, 5, 7], [1, 3, 3, 3, 3, 2]] = 0.0
    log_probs[[1, 6], 0] = 0.0
    log_probs[[1, 6], 3] = -1.0
    log_probs[[2, 3, 4, 5], 2] = -1.0

    def second(blanks: list[int] | None) -> tuple[int, int]:
        spans = force_align(log_probs, [1, 2], blanks=blanks)
        assert spans is not None
        return spans[1].start, spans[1].end

    assert second([0, 3, 0]) == (7, 8)
    assert second(None)[0] == second([3, 0, 3])[0] == 2


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
    variables = ForwardVariables(log_probs)
    in_label, in_blank = variables.of_nothing
    assert np.log(in_blank[-1]) + log_probs.max(1).sum() == pytest.approx(log_probs[:, 0].sum())
    for place, label in enumerate(labels):
        last = labels[place - 1] if place else 0
        # Beside another sequence, with which it must not mingle.
        both = (np.stack([one, one[::-1]]) for one in (in_label, in_blank))
        found = variables.extend(*both, np.array([last, 1]), np.array([label, 2]))
        in_label, in_blank, begun, alone = (one[0] for one in found)
    exactly = beginning = 0.0
    for path in itertools.product(range(3), repeat=frames):
        said = greedy_path(path)
        probability = float(np.exp(sum(log_probs[t, s] for t, s in enumerate(path))))
        exactly += probability * (said == labels)
        beginning += probability * (said[: len(labels)] == labels)
    assert np.exp(alone) == pytest.approx(exactly, abs=1e-9)
    assert np.exp(begun) == pytest.approx(beginning, abs=1e-9)


@pytest.mark.parametrize("frames", [1, 40, 700])
def test_a_sequence_alone_costs_what_ctc_says(frames: int) -> None:
    """However long, and however many are found together; here every ninth label is not what was heard."""
    import torch

    log_probs = posteriors(frames, 9, frames).astype(np.float64) * 3
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    variables = ForwardVariables(log_probs)
    labels = greedy_path(log_probs.argmax(axis=1).tolist()) or [3]
    labels[::9] = [1 + label % 8 for label in labels[::9]]
    rows = [np.repeat(one[None], 3, axis=0) for one in variables.of_nothing]
    for place, label in enumerate(labels):
        last = labels[place - 1] if place else 0
        found = variables.extend(*rows, np.array([last] * 3), np.array([label, label, 1 + label % 8]))
        rows = [found.in_label, found.in_blank]
        for one in rows:
            one[2] = one[0]
    whole = torch.from_numpy(log_probs)[:, None]
    loss = torch.nn.functional.ctc_loss(
        whole, torch.tensor([labels]), torch.tensor([frames]), torch.tensor([len(labels)]), reduction="sum"
    )
    assert found.alone[:2] == pytest.approx([-float(loss)] * 2, rel=1e-9)


def test_what_is_impossible_or_has_no_frames() -> None:
    nothing = ForwardVariables(np.zeros((0, 3)))
    found = nothing.extend(*(one[None] for one in nothing.of_nothing), np.array([0]), np.array([1]))
    assert found.alone == found.begun == -np.inf
    short = ForwardVariables(posteriors(1, 3, 0))
    one = short.extend(*(one[None] for one in short.of_nothing), np.array([0]), np.array([1]))
    two = short.extend(one.in_label, one.in_blank, np.array([1]), np.array([2]))
    assert one.alone > -np.inf and two.alone == two.begun == -np.inf
