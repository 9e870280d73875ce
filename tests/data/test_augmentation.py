from pathlib import Path

import numpy as np
import pytest

from nim4asr.acoustics.frontend import features_of
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.augmentation import (
    AugmentationConfig,
    add_noise,
    limit_band,
    mask,
    play,
    trim,
    vary,
)
from nim4asr.data.corpus import LabeledUtterance
from nim4asr.data.noise import NoiseConfig
from nim4asr.data.store import FeatureStore, build_store


def sound(frames: int = 300, level: float = 10.0) -> np.ndarray:
    return (level + np.random.default_rng(0).standard_normal((frames, 80))).astype(np.float32)


def test_the_same_generator_gives_the_same_sample() -> None:
    config = AugmentationConfig()
    one, other = (vary(sound(), config, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_rates_stay_in_range() -> None:
    config = AugmentationConfig(rates=(0.9, 1.1), trim_share=0.0)
    lengths = [len(vary(sound(), config, np.random.default_rng(i))) for i in range(200)]
    assert 300 / 1.1 - 1 <= min(lengths) < 285 < 315 < max(lengths) <= 300 / 0.9 + 1


def test_trimming_takes_the_quiet_and_leaves_the_speech() -> None:
    quiet = sound(100, -5.0)
    speech = sound(200)
    kept = trim(np.concatenate([quiet, speech, quiet]), margin=12)
    assert 200 <= len(kept) <= 240


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_features_played_faster_are_those_of_the_sound_played_faster(speed: float) -> None:
    def glide(speed: float) -> Floats:
        """From 500 to 1,500 Hz in two seconds."""
        time = np.arange(round(2 * SAMPLE_RATE / speed)) / SAMPLE_RATE * speed
        return np.sin(2 * np.pi * (500 * time + 250 * time**2)).astype(np.float32) / 2

    played, expected = (
        play(features_of(glide(1.0), KaldiFeatures()), speed, KaldiFeatures()),
        features_of(glide(speed), KaldiFeatures()),
    )
    assert abs(len(played) - len(expected)) <= 3
    loudest = [
        features[10:-10].argmax(axis=1) for features in (played[: len(expected)], expected[: len(played)])
    ]
    assert np.abs(loudest[0] - loudest[1]).max() <= 2
    np.testing.assert_array_equal(play(sound(), 1.0, KaldiFeatures()), sound())


def test_noise_has_its_ratio_and_silence_before_it() -> None:
    config = NoiseConfig(snr_db=(10.0, 1e-9))
    noise = np.full((50, 80), 3.0, np.float32)
    speech = np.full((200, 80), 8.0, np.float32)
    mixed = add_noise(speech, [noise], config, KaldiFeatures(), np.random.default_rng(0))
    assert 200 <= len(mixed) <= 400
    # Around the speech there is noise alone, 10 dB below it.
    gap = 10 * np.log10(np.e) * (8.0 - mixed.min())
    assert gap == pytest.approx(10.0, abs=0.01)
    assert mixed.min() > KaldiFeatures.silence


def test_silence_is_beta_1_3() -> None:
    config = NoiseConfig()
    noise, speech = np.zeros((50, 80), np.float32), np.zeros((100, 80), np.float32)
    random = np.random.default_rng(0)
    extra = [len(add_noise(speech, [noise], config, KaldiFeatures(), random)) - 100 for _ in range(400)]
    # Two draws of mean 1/4 second, 100 frames each.
    assert np.mean(extra) == pytest.approx(50, rel=0.1)
    assert max(extra) <= 200


def test_masks_hide_bands_and_stretches() -> None:
    features = np.ones((400, 80), np.float32)
    masked = mask(features, AugmentationConfig(), KaldiFeatures(), np.random.default_rng(1))
    assert features.all()
    assert 0.3 < masked.mean() < 1.0
    more = [
        mask(features, AugmentationConfig(), KaldiFeatures(), np.random.default_rng(i), 2.5).mean()
        for i in range(30)
    ]
    once = [
        mask(features, AugmentationConfig(), KaldiFeatures(), np.random.default_rng(i)).mean()
        for i in range(30)
    ]
    assert np.mean(more) < np.mean(once)


def loudest_band(hz: float) -> int:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    return int(
        features_of((0.1 * np.sin(2 * np.pi * hz * time)).astype(np.float32), KaldiFeatures())
        .mean(axis=0)
        .argmax()
    )


def test_a_limited_band_keeps_what_a_telephone_passes_on() -> None:
    features = sound()
    cut_low = 0
    for seed in range(60):
        limited = limit_band(features, KaldiFeatures(), np.random.default_rng(seed))
        passed = slice(loudest_band(450.0), loudest_band(3200.0))
        np.testing.assert_allclose(limited[:, passed], features[:, passed], atol=1e-3)
        # Whatever the cutoff, nothing is left at the upper end, and silence is the least that can be.
        assert (features - limited)[:, loudest_band(7900.0)].min() > 2.0
        assert limited.min() >= KaldiFeatures.silence
        cut_low += bool((features - limited)[:, 0].min() > 2.0)
    assert 0.2 < cut_low / 60 < 0.6


def test_a_band_is_limited_in_its_share_of_the_samples(tmp_path: Path) -> None:
    def listen(text: str) -> tuple[LabeledUtterance, Floats]:
        hiss = 0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)
        return LabeledUtterance("hiss", text, "en", (1, 2)), hiss.astype(np.float32)

    build_store(tmp_path / "store", ["hiss"], listen, KaldiFeatures(), workers=1)
    store = FeatureStore(tmp_path / "store")
    random = np.random.default_rng(0)

    def highest(config: AugmentationConfig) -> float:
        return float(store.augmented(store.utterances[0], config, (), random)[:, -1].mean())

    wide = highest(AugmentationConfig(noise=None, level_db=0.0))
    config = AugmentationConfig(noise=None, level_db=0.0, narrowband_share=0.25)
    narrow = [highest(config) < wide - 2.0 for _ in range(400)]
    assert np.mean(narrow) == pytest.approx(0.25, abs=0.06)
