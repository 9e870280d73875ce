"""How loud a recording is, whatever its pauses, and what makes it louder."""

import math

import numpy as np
import pytest

from nim4asr.audio.level import LevelMeter, amplified, automatic_gain, checked_gain
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError


def tone(seconds: float, level_db: float) -> Floats:
    """A sine of the level."""
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sine: Floats = (np.sin(2 * np.pi * 200 * times) * math.sqrt(2) * 10 ** (level_db / 20)).astype(np.float32)
    return sine


def level_of(*blocks: Floats) -> float:
    meter = LevelMeter()
    for block in blocks:
        meter.add(block)
    return meter.level


@pytest.mark.parametrize("level", [-3.01, -20.0, -52.0, -80.0])
def test_a_sine_has_its_level(level: float) -> None:
    assert level_of(tone(2.0, level)) == pytest.approx(level, abs=0.05)
    assert level_of(tone(0.05, level)) == pytest.approx(level, abs=0.3)


def test_pauses_and_their_noise_do_not_count() -> None:
    assert level_of(tone(50, -70), tone(2, -30), np.zeros(10 * SAMPLE_RATE, np.float32)) == pytest.approx(
        -30, abs=0.3
    )


def test_silence_has_no_level_and_gets_no_gain() -> None:
    for silence in (np.zeros(0, np.float32), np.zeros(99_999, np.float32)):
        assert level_of(silence) == -math.inf and automatic_gain([silence]) == 0.0


def test_any_cutting_gives_the_same_level() -> None:
    sound = tone(3.0, -40)
    assert level_of(*np.array_split(sound, 97)) == pytest.approx(level_of(sound), abs=1e-6)


@pytest.mark.parametrize(("level", "gain"), [(-52.0, 32.0), (-10.0, 0.0), (-95.0, 60.0)])
def test_what_is_quiet_is_brought_to_the_level_of_speech(level: float, gain: float) -> None:
    assert automatic_gain([tone(2.0, level)]) == pytest.approx(gain, abs=0.1)


def test_what_is_amplified_stays_within_full_scale() -> None:
    (loud,) = amplified([np.array([0.01, -0.5, 0.9], np.float32)], 20.0)
    assert loud == pytest.approx([0.1, -1.0, 1.0]) and loud.dtype == np.float32


@pytest.mark.parametrize("gain", [61.0, -61.0, math.nan, "loud", None])
def test_gains_that_cannot_be_are_refused(gain: object) -> None:
    with pytest.raises(InputError, match="the gain is auto or from -60 to 60 dB"):
        checked_gain(gain)  # type: ignore[arg-type]
