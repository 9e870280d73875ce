import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.hotwords.ascending import blocks, first_not_below, pack, unpack, value_at


@given(st.lists(st.integers(0, 2**40), max_size=200), st.integers(0, 2**40))
def test_what_is_packed_is_as_it_was(numbers: list[int], wanted: int) -> None:
    values = np.sort(np.array(numbers, np.int64) % (1 << 31))
    offsets, bases = pack(values)
    assert unpack(offsets, bases).tolist() == values.tolist() and len(bases) == blocks(len(values))
    assert [int(value_at(offsets, bases, i)) for i in range(len(values))] == values.tolist()
    assert first_not_below(offsets, bases, wanted) == np.searchsorted(values, wanted)
    for value in values.tolist():
        assert first_not_below(offsets, bases, value) == np.searchsorted(values, value)


def test_two_bytes_are_enough_where_steps_are_small() -> None:
    offsets, bases = pack(np.arange(0, 70_000 * 64, 64))
    assert offsets.dtype == np.uint16 and bases.dtype == np.uint32 and len(bases) == blocks(70_000)
    assert pack(np.array([0, 1 << 16]))[0].dtype == np.uint32
    assert pack(np.array([1 << 32]))[1].dtype == np.int64
    assert all(len(part) == 0 for part in pack(np.zeros(0, np.int64)))
