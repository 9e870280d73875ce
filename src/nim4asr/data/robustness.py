"""Robustness augmentation of samples: speed, rooms, and noise that begins before the speech does.

What the paper does to the audio of stages 1 to 5, in its order: the utterance is played faster or slower,
some are put into a simulated room, and a share of the samples gets 0 to 1 s of silence, Beta(1, 3), before
and after the utterance and *then* babble, vehicle noise or music over all of it, at a signal-to-noise ratio
of N(10, 5) dB. Speech that begins in noise teaches that noise alone is not speech. SpecAugment follows on the
features (``nim4asr.data.augmentation.mask``).

Every function draws from the generator it is given and from nothing else.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.noise import Noise, NoiseConfig

_TELEPHONE_RATE = 8_000
# G.711's, for North America and Japan.
_MU = 255.0


@dataclass(frozen=True)
class RobustnessConfig:
    """How samples are varied; the paper's figures are the defaults."""

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Drawn with equal chances."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    room_share: float = 0.2
    """The share of the samples in a simulated room."""
    rt60_s: tuple[float, float] = (0.1, 0.7)
    """The range of the time in which a room's sound falls by 60 dB."""
    narrowband_share: float = 0.0
    """The share of the samples that a telephone passed on, with half of all the bandwidth; the paper has
    none."""

    def __post_init__(self) -> None:
        if not 0 <= self.room_share <= 1:
            raise ValueError("room_share is a share, from 0 to 1")
        if not 0 <= self.narrowband_share <= 1:
            raise ValueError("narrowband_share is a share, from 0 to 1")
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError("speeds must be above 0, and one at least")


def vary_samples(samples: Floats, config: RobustnessConfig, noise: Noise | None, random: Generator) -> Floats:
    """``samples`` (N,), 16 kHz, as they would sound elsewhere: (M,). Without ``noise`` none is mixed in."""
    varied = change_speed(samples, config.speeds[int(random.integers(len(config.speeds)))])
    if random.random() < config.room_share:
        varied = convolve(varied, room_response(random.uniform(*config.rt60_s), random))
    if noise is not None and random.random() < config.noise.share:
        varied = mix(
            pad(varied, config.noise, random), varied, noise, config.noise.draw_snr_db(random), random
        )
    if config.narrowband_share and random.random() < config.narrowband_share:
        varied = by_telephone(varied)
    return varied


def by_telephone(samples: Floats) -> Floats:
    """``samples`` (N,) as a telephone line passes them on: 300 to 3,400 Hz, 8 bits by G.711's mu-law: (N,).

    Beyond full scale they are clipped.
    """
    import soxr

    narrow = soxr.resample(samples, SAMPLE_RATE, _TELEPHONE_RATE)
    frequencies = np.fft.rfftfreq(len(narrow), 1 / _TELEPHONE_RATE)
    # Edges of some 60 Hz, as in the masks of the public network.
    edges = 1 / (1 + np.exp((300.0 - frequencies) / 15)) / (1 + np.exp((frequencies - 3400.0) / 15))
    passed = np.clip(np.fft.irfft(np.fft.rfft(narrow) * edges, len(narrow)), -1.0, 1.0)
    steps = np.round(127 * np.log1p(_MU * np.abs(passed)) / np.log1p(_MU))
    decoded = np.sign(passed) * np.expm1(steps / 127 * np.log1p(_MU)) / _MU
    wide = soxr.resample(decoded, _TELEPHONE_RATE, SAMPLE_RATE)
    heard = np.zeros(len(samples), np.float32)
    # An odd number of samples comes back as one more or fewer.
    heard[: len(wide)] = wide[: len(samples)]
    return heard


def change_speed(samples: Floats, speed: float) -> Floats:
    """``samples`` played ``speed`` times as fast, tempo and pitch alike: (N / speed,), about."""
    if speed == 1.0:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, round(SAMPLE_RATE * speed), SAMPLE_RATE), np.float32)


def room_response(rt60: float, random: Generator, direct: float = 1.0) -> Floats:
    """The impulse response of a simulated room: the direct sound and noise that falls by 60 dB in ``rt60``
    seconds.

    Polack's model of a diffuse field (1988). The reflections hold as much energy as the direct sound, or
    less.
    """
    length = max(2, round(rt60 * SAMPLE_RATE))
    time = np.arange(length) / SAMPLE_RATE
    tail = random.standard_normal(length) * 10.0 ** (-3.0 * time / rt60)
    # Nothing comes back before the nearest wall, one to ten milliseconds away.
    tail[: round(random.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0.0
    energy = float(np.square(tail).sum())
    response = tail * np.sqrt(random.uniform(0.05, 1.0) / max(energy, 1e-12))
    response[0] = direct
    response32: Floats = response.astype(np.float32)
    return response32


def convolve(samples: Floats, response: Floats) -> Floats:
    """``samples`` (N,) in a room, as long and as loud as before."""
    size = 1 << int(np.ceil(np.log2(len(samples) + len(response))))
    heard = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    scale = np.sqrt(_power(samples) / max(_power(heard), 1e-12))
    reverberant: Floats = (heard * np.float32(scale)).astype(np.float32)
    return reverberant


def pad(samples: Floats, config: NoiseConfig, random: Generator) -> Floats:
    """``samples`` with silence before and after, Beta(1, 3) of the longest each."""
    before, after = config.draw_silences(random)
    return np.pad(samples, (int(before * SAMPLE_RATE), int(after * SAMPLE_RATE)))


def mix(padded: Floats, speech: Floats, noise: Noise, snr_db: float, random: Generator) -> Floats:
    """``padded`` with noise over all of it, ``snr_db`` under the power of ``speech``."""
    background = noise.draw(len(padded), random)
    gain = np.sqrt(_power(speech) / max(_power(background), 1e-12) / 10.0 ** (snr_db / 10))
    mixed: Floats = (padded + background * np.float32(gain)).astype(np.float32)
    peak = float(np.abs(mixed).max(initial=0.0))
    return mixed if peak <= 1.0 else mixed / np.float32(peak)


def _power(samples: NDArray[np.floating[Any]]) -> float:
    return float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0
