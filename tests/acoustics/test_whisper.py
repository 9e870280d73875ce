import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.acoustics.frontend import features_of
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.acoustics.whisper import WhisperFeatures, WhisperScale, mel_filters
from nim4asr.audio.samples import Floats

WHISPER = WhisperFeatures()


def noise(samples: int, seed: int = 0) -> Floats:
    swell = 0.01 + np.linspace(0, 1, samples) ** 2
    return (0.2 * swell * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("samples", [16_000, 40_037, 160])
def test_with_the_clip_s_maximum_it_is_whisper_s_own(bins: int, samples: int) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.WhisperFeatureExtractor(feature_size=bins)
    sound = noise(samples)
    reference = theirs(sound, sampling_rate=16_000, return_tensors="np").input_features[0].T
    features = features_of(sound, WhisperFeatures(bins))
    assert len(features) == samples // 160
    # Whisper's maximum is over the clip and what it is padded with; here over the clip and its last frames.
    padded = features_of(np.concatenate([sound, np.zeros(800, np.float32)]), WhisperFeatures(bins))
    scaled = WhisperScale(float(padded.max()) / np.log(10))(features)
    np.testing.assert_allclose(scaled, reference[: len(scaled)], atol=1e-5)


def test_the_fixed_reference() -> None:
    scale = WHISPER.normalization
    silence = np.full((1, 80), WHISPER.silence, np.float32)
    # (max(-10, 1 - 8) + 4) / 4, and (0 + 4) / 4 for a power of one.
    np.testing.assert_allclose(scale(silence), -0.75)
    np.testing.assert_allclose(scale(np.zeros((1, 80), np.float32)), 1.0)
    assert scale.is_close(WhisperScale(1.0)) and not scale.is_close(WhisperScale(0.5))
    assert not scale.is_close(Cmvn.neutral(80)) and not Cmvn.neutral(80).is_close(scale)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(0, 5000),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
    seed=st.integers(0, 9),
)
def test_any_cutting_gives_the_frames_of_the_whole(samples: int, cuts: list[int], seed: int) -> None:
    sound = noise(samples, seed)
    stream = WHISPER.stream()
    streamed = [stream.feed(piece) for piece in np.split(sound, sorted(min(cut, samples) for cut in cuts))]
    whole = features_of(sound, WHISPER)
    assert whole.shape == (samples // 160, 80)
    np.testing.assert_array_equal(np.concatenate([*streamed, stream.finish()]), whole)


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 3000.0, 6000.0])
def test_a_tone_stands_in_its_band(bins: int, frequency_hz: float) -> None:
    time = np.arange(16_000) / 16_000
    sound = (0.5 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)
    features = WhisperFeatures(bins)
    loudest = int(features_of(sound, features).mean(axis=0).argmax())
    assert abs(loudest - features.band(frequency_hz)) <= 1.5
    assert features.frequency_hz(features.band(frequency_hz)) == pytest.approx(frequency_hz)


def test_the_bands_are_slaney_s() -> None:
    # 200 / 3 Hz a mel up to 1,000 Hz, 15 mels; 27 mels for a factor of 6.4 above: 45.2456 at 8,000 Hz.
    mels = 45.24564 / 81
    assert WHISPER.frequency_hz(79.0) == pytest.approx(1000 * 6.4 ** ((80 * mels - 15) / 27), rel=1e-4)
    assert WHISPER.frequency_hz(0.0) == pytest.approx(mels * 200 / 3, rel=1e-4)
    # Each filter's area over frequency is one: 40 Hz from one value to the next.
    np.testing.assert_allclose(mel_filters(80)[41:].sum(axis=1) * 40, 1.0, atol=0.02)


@pytest.mark.parametrize("wrong", [{"bins": 1}, {"bins": 300}, {"reference": 11.0}])
def test_what_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="from"):
        WhisperFeatures(**wrong)
