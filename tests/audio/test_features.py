import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.audio.features import Cmvn, FeatureStream, log_mel


def test_length_is_that_of_whole_windows() -> None:
    for samples, frames in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)]:
        assert log_mel(np.zeros(samples, np.float32)).shape == (frames, 80)


def test_a_tone_stands_in_its_bin() -> None:
    time = np.arange(16_000) / 16_000
    mean = [log_mel(np.sin(2 * np.pi * hz * time).astype(np.float32)).mean(axis=0) for hz in (300, 3000)]
    assert mean[0].argmax() < 20 < 40 < mean[1].argmax()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=8), seed=st.integers(0, 9))
def test_any_cutting_gives_the_frames_of_the_whole(cuts: list[int], seed: int) -> None:
    samples = (np.random.default_rng(seed).standard_normal(5000) * 0.1).astype(np.float32)
    stream = FeatureStream()
    pieces = np.split(samples, sorted(cuts))
    streamed = np.concatenate([stream.feed(piece) for piece in pieces])
    np.testing.assert_allclose(streamed, log_mel(samples), atol=1e-5)


def test_frames_outlive_their_stream() -> None:
    samples = (np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32)
    first = log_mel(samples)
    kept = first.copy()
    for _ in range(50):
        log_mel(samples[::-1].copy())
    np.testing.assert_array_equal(first, kept)


def test_normalization_centres_and_scales() -> None:
    frames = np.random.default_rng(0).normal(5.0, 3.0, (4000, 80)).astype(np.float32)
    cmvn = Cmvn.from_sums(len(frames), frames.sum(0), (frames**2).sum(0))
    assert abs(cmvn(frames).mean()) < 1e-3
    assert abs(cmvn(frames).std() - 1) < 1e-3


def test_normalization_needs_frames() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        Cmvn.from_sums(0, np.zeros(80, np.float32), np.zeros(80, np.float32))
