import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.acoustics.clock import FrameClock


def test_four_frames_of_ten_milliseconds() -> None:
    clock = FrameClock(100, 4, 3)
    assert clock.frame_s == 0.04
    assert clock.window(16) == 67
    assert [clock.output_length(n) for n in (0, 6, 7, 10, 11)] == [0, 0, 1, 1, 2]
    padded = FrameClock(100, 4, 1, pads_end=True)
    assert [padded.output_length(n) for n in (0, 3, 4, 5, 8)] == [0, 0, 1, 1, 2]


@given(st.integers(1, 8), st.integers(0, 8), st.booleans(), st.integers(0, 500))
def test_a_window_gives_its_frames(stride: int, lookahead: int, pads_end: bool, frames: int) -> None:
    clock = FrameClock(100, stride, lookahead, pads_end)
    spare = lookahead // stride if pads_end else 0
    assert clock.output_length(clock.window(frames)) == frames + spare


def test_clocks_that_cannot_be() -> None:
    for wrong in [(0, 4, 3), (100, 0, 3), (100, 4, -1)]:
        with pytest.raises(ValueError, match="impossible clock"):
            FrameClock(*wrong)
