import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.noise import NoiseConfig
from nim4asr.data.robustness import (
    RobustnessConfig,
    by_telephone,
    change_speed,
    convolve,
    mix,
    pad,
    room_response,
    vary_samples,
)


class Hiss:
    """White noise of a standard deviation of 0.1."""

    def draw(self, samples: int, random: np.random.Generator) -> Floats:
        return (random.standard_normal(samples) * 0.1).astype(np.float32)


def db(power: float) -> float:
    return float(10 * np.log10(power))


def test_speed_changes_length_and_pitch(tone: Floats) -> None:
    fast = change_speed(tone, 1.1)
    assert len(fast) == pytest.approx(len(tone) / 1.1, abs=2)
    spectrum = np.abs(np.fft.rfft(fast))
    assert spectrum.argmax() * SAMPLE_RATE / len(fast) == pytest.approx(440 * 1.1, abs=2)
    assert change_speed(tone, 1.0) is tone


def test_a_room_rings_for_its_time(tone: Floats) -> None:
    response = room_response(0.4, np.random.default_rng(0))
    energy = np.cumsum(np.square(response[::-1]))[::-1]
    # Schroeder's decay curve, from -5 to -25 dB of the tail, is a third of the whole 60.
    tail = 10 * np.log10(energy[200:] / energy[200])
    twenty = (np.argmax(tail < -25) - np.argmax(tail < -5)) / SAMPLE_RATE
    assert 3 * twenty == pytest.approx(0.4, rel=0.15)
    heard = convolve(tone, response)
    assert len(heard) == len(tone)
    assert np.square(heard).mean() == pytest.approx(np.square(tone).mean(), rel=0.01)
    assert not np.allclose(heard, tone)


def test_silence_is_beta_1_3_of_the_longest(tone: Floats) -> None:
    random = np.random.default_rng(0)
    config = NoiseConfig(max_silence_s=1.0)
    seconds = [(len(pad(tone, config, random)) - len(tone)) / SAMPLE_RATE for _ in range(800)]
    # Two draws of mean a quarter and variance 3/80 each.
    assert np.mean(seconds) == pytest.approx(0.5, abs=0.03)
    assert np.var(seconds) == pytest.approx(2 * 3 / 80, rel=0.15)


def test_noise_lies_under_the_speech_and_the_silence_by_its_ratio(tone: Floats) -> None:
    random = np.random.default_rng(0)
    padded = np.pad(tone, SAMPLE_RATE)
    mixed = mix(padded, tone, Hiss(), 10.0, random)
    scale = np.abs(mixed).max() if np.abs(mixed).max() > 1 else 1.0
    quiet = mixed[: SAMPLE_RATE // 2] / scale
    assert db(np.square(tone).mean() / np.square(quiet).mean()) == pytest.approx(10.0, abs=0.3)


def test_shares_and_ratios_are_as_configured(tone: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios: list[float] = []

    def noted(padded: Floats, speech: Floats, noise: object, snr_db: float, random: object) -> Floats:
        ratios.append(snr_db)
        return padded

    monkeypatch.setattr("nim4asr.data.robustness.mix", noted)
    config = RobustnessConfig(speeds=(0.9, 1.0, 1.1), room_share=0.0)
    random = np.random.default_rng(0)
    lengths = [len(vary_samples(tone[:1600], config, Hiss(), random)) for _ in range(3000)]
    assert len(ratios) / 3000 == pytest.approx(0.2, abs=0.02)
    assert np.mean(ratios) == pytest.approx(10.0, abs=0.6)
    assert np.std(ratios) == pytest.approx(5.0, abs=0.5)
    for length in (1455, 1600, 1778):
        assert np.mean([abs(one - length) <= 2 for one in lengths]) == pytest.approx(0.8 / 3, abs=0.04)


def test_the_same_generator_gives_the_same_sample(tone: Floats) -> None:
    config = RobustnessConfig(noise=NoiseConfig(share=1.0), room_share=1.0)
    one, other = (vary_samples(tone, config, Hiss(), np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one).max() <= 1.0


def test_without_noise_none_is_mixed_in(tone: Floats) -> None:
    config = RobustnessConfig(speeds=(1.0,), noise=NoiseConfig(share=1.0), room_share=0.0)
    np.testing.assert_array_equal(vary_samples(tone, config, None, np.random.default_rng(0)), tone)


def test_a_telephone_passes_half_the_band_and_eight_bits() -> None:
    hiss = Hiss().draw(SAMPLE_RATE + 1, np.random.default_rng(0))
    heard = by_telephone(hiss)
    assert heard.shape == hiss.shape
    before, after = (np.square(np.abs(np.fft.rfft(one))) for one in (hiss, heard))
    hz = np.fft.rfftfreq(len(hiss), 1 / SAMPLE_RATE)

    def change_db(low: float, high: float) -> float:
        band = (hz >= low) & (hz < high)
        return db(after[band].sum() / before[band].sum())

    assert change_db(400, 3300) == pytest.approx(0.0, abs=0.2)
    # What is left outside is the noise of the eight bits, and that up to 4 kHz alone.
    assert change_db(0, 200) < -25 and change_db(3550, 3900) < -25
    assert change_db(4200, 8000) < -50
    # 38 dB of signal to noise, which G.711 has for a loud tone that does not fall on few of its levels.
    tone = 0.5 * np.sin(2 * np.pi * 1017 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    spectrum = np.square(np.abs(np.fft.rfft(by_telephone(tone.astype(np.float32)), norm="ortho")))
    signal = float(spectrum[1010:1024].sum())
    assert db(signal / (float(spectrum.sum()) - signal)) == pytest.approx(38.0, abs=2.0)


def test_samples_go_by_telephone_in_their_share(tone: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nim4asr.data.robustness.by_telephone", lambda samples: samples * 0)
    config = RobustnessConfig(speeds=(1.0,), room_share=0.0, narrowband_share=0.3)
    random = np.random.default_rng(0)
    silent = [not vary_samples(tone, config, None, random).any() for _ in range(1000)]
    assert np.mean(silent) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    "values", [{"narrowband_share": -0.1}, {"room_share": 2.0}, {"speeds": ()}, {"speeds": (0.0,)}]
)
def test_impossible_robustness(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"_share|speeds"):
        RobustnessConfig(**values)  # type: ignore[arg-type]
