import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.acoustics.frontend import features_of
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import Floats

KALDI = KaldiFeatures()


def test_length_is_that_of_whole_windows() -> None:
    for samples, frames in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)]:
        assert features_of(np.zeros(samples, np.float32), KALDI).shape == (frames, 80)
    assert features_of(np.zeros(400, np.float32), KaldiFeatures(40)).shape == (1, 40)


def test_silence_is_the_floor() -> None:
    np.testing.assert_allclose(features_of(np.zeros(400, np.float32), KALDI), KALDI.silence, rtol=1e-6)


def tone(frequency_hz: float) -> Floats:
    time = np.arange(16_000) / 16_000
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 3000.0, 6000.0])
def test_a_tone_stands_in_its_band(frequency_hz: float) -> None:
    loudest = int(features_of(tone(frequency_hz), KALDI).mean(axis=0).argmax())
    assert abs(loudest - KALDI.band(frequency_hz)) <= 1.0
    assert KALDI.frequency_hz(KALDI.band(frequency_hz)) == pytest.approx(frequency_hz)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=8), seed=st.integers(0, 9))
def test_any_cutting_gives_the_frames_of_the_whole(cuts: list[int], seed: int) -> None:
    samples = (np.random.default_rng(seed).standard_normal(5000) * 0.1).astype(np.float32)
    stream = KALDI.stream()
    streamed = [stream.feed(piece) for piece in np.split(samples, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate([*streamed, stream.finish()]), features_of(samples, KALDI))


def test_frames_outlive_their_stream() -> None:
    samples = (np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32)
    first = features_of(samples, KALDI)
    kept = first.copy()
    for _ in range(50):
        features_of(samples[::-1].copy(), KALDI)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("bins", [0, 1, 257])
def test_bins_that_cannot_be(bins: int) -> None:
    with pytest.raises(ValueError, match="from 2 to 256 bins"):
        KaldiFeatures(bins)
