import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.data.packing import Epochs, pack


@given(st.lists(st.floats(0.1, 50.0), max_size=60), st.floats(1.0, 100.0), st.integers(0, 9))
def test_every_item_is_packed_once_and_within_the_most(costs: list[float], most: float, seed: int) -> None:
    batches = pack(range(len(costs)), costs, most, np.random.default_rng(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(costs)))
    for batch in batches:
        assert len(batch) == 1 or max(costs[i] for i in batch) * len(batch) <= most


def test_steps_in_order_draw_every_epoch_once() -> None:
    drawn = []

    def draw(number: int, random: np.random.Generator) -> list[list[int]]:
        drawn.append(1)
        return [[int(random.integers(100))] for _ in range(int(random.integers(1, 5)))]

    epochs = Epochs(draw, seed=3)
    whole = [batch for number in range(6) for batch in Epochs(draw, seed=3).epoch(number)]
    drawn.clear()
    assert [epochs.batch(step) for step in range(len(whole))] == whole
    assert len(drawn) == 6
    # Any other order gives the same.
    for step in (len(whole) - 1, 0, len(whole) // 2):
        assert epochs.batch(step) == whole[step] == Epochs(draw, seed=3).batch(step)


def test_nothing_to_pack_is_said() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Epochs[int](lambda number, random: [], seed=0).batch(0)
