import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Indel

from nim4asr.recognition import anchoring
from nim4asr.recognition.anchoring import Labels, matched

RANDOM = np.random.default_rng(0)


def labels(count: int) -> Labels:
    return RANDOM.integers(1, 100, count)


def misheard(said: Labels, rate: float = 0.25) -> Labels:
    """``said`` with labels that are left out, others, and more."""
    heard: list[int] = []
    for label, draw in zip(said.tolist(), RANDOM.random(len(said)) / rate, strict=True):
        if draw >= 1 / 3:
            heard.append(label if draw >= 2 / 3 else int(labels(1)[0]))
        if draw > 1 / rate - 1 / 3:
            heard.append(int(labels(1)[0]))
    return np.array(heard, np.int64)


def share(found: Labels) -> float:
    return float((found >= 0).mean())


@given(st.lists(st.integers(1, 4), max_size=12), st.lists(st.integers(1, 4), max_size=12))
def test_matches_are_equal_and_ascend(ours: list[int], theirs: list[int]) -> None:
    found = matched(np.array(ours, np.int64), np.array(theirs, np.int64))
    pairs = [(i, int(j)) for i, j in enumerate(found) if j >= 0]
    assert all(ours[i] == theirs[j] for i, j in pairs)
    assert [j for _, j in pairs] == sorted({j for _, j in pairs})
    # No more than there can be; all of them for equal ones.
    assert 2 * len(pairs) <= len(ours) + len(theirs) - Indel.distance(ours, theirs)
    assert ours != theirs or len(pairs) == len(ours)


@pytest.mark.parametrize("cells", [16_000_000, 20_000])
def test_what_was_misheard_is_matched(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where most of it is too large for dynamic programming."""
    monkeypatch.setattr(anchoring, "_MOST_CELLS", cells)
    monkeypatch.setattr(anchoring, "_EDGE", 140)
    said = labels(1500)
    heard = misheard(said)
    assert share(matched(said, heard)) > 0.7
    # What the one holds alone is one gap of it.
    more = np.concatenate([said[:700], labels(400), said[700:]])
    found = matched(more, heard)
    assert share(found[:700]) > 0.7 and share(found[1100:]) > 0.7 and share(found[710:1090]) < 0.05
    found = matched(said, np.concatenate([heard[:600], labels(400), heard[600:]]))
    assert share(found) > 0.7 and ((found > 610) & (found < 990)).mean() < 0.02


def test_a_part_is_found_in_the_whole() -> None:
    said = labels(3000)
    heard = misheard(said)
    found = matched(said[1000:1200], heard)
    inside = found[found >= 0]
    assert share(found) > 0.7 and inside[-1] - inside[0] < 260


def test_strangers_have_nothing_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchoring, "_MOST_CELLS", 20_000)
    monkeypatch.setattr(anchoring, "_EDGE", 100)
    assert share(matched(labels(2000), labels(2000))) < 0.1
    nothing = np.zeros(0, np.int64)
    assert len(matched(nothing, labels(3))) == 0 and (matched(labels(3), nothing) == -1).all()
