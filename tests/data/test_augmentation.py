import numpy as np
import pytest

from nim4asr.data.augmentation import SILENCE, AugmentationConfig, add_noise, mask, trim, vary
from nim4asr.data.noise import NoiseConfig


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


def test_noise_has_its_ratio_and_silence_before_it() -> None:
    config = NoiseConfig(snr_db=(10.0, 1e-9))
    noise = np.full((50, 80), 3.0, np.float32)
    speech = np.full((200, 80), 8.0, np.float32)
    mixed = add_noise(speech, [noise], config, np.random.default_rng(0))
    assert 200 <= len(mixed) <= 400
    # Around the speech there is noise alone, 10 dB below it.
    gap = 10 * np.log10(np.e) * (8.0 - mixed.min())
    assert gap == pytest.approx(10.0, abs=0.01)
    assert mixed.min() > SILENCE


def test_silence_is_beta_1_3() -> None:
    config = NoiseConfig()
    noise, speech = np.zeros((50, 80), np.float32), np.zeros((100, 80), np.float32)
    random = np.random.default_rng(0)
    extra = [len(add_noise(speech, [noise], config, random)) - 100 for _ in range(400)]
    # Two draws of mean 1/4 second, 100 frames each.
    assert np.mean(extra) == pytest.approx(50, rel=0.1)
    assert max(extra) <= 200


def test_masks_hide_bands_and_stretches() -> None:
    features = np.ones((400, 80), np.float32)
    masked = mask(features, AugmentationConfig(), np.random.default_rng(1))
    assert features.all()
    assert 0.3 < masked.mean() < 1.0
    more = [mask(features, AugmentationConfig(), np.random.default_rng(i), 2.5).mean() for i in range(30)]
    once = [mask(features, AugmentationConfig(), np.random.default_rng(i)).mean() for i in range(30)]
    assert np.mean(more) < np.mean(once)
