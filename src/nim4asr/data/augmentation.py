"""Augmentation of features: rate, voice, level, noise with silence before it, bandwidth, and SpecAugment.

All of it works on log-Mel frames out of a feature store, in place of the samples: sound powers add, so
noise is mixed as log(exp(speech) + exp(noise)), which leaves out only the phase.
Every function draws from the generator it is given and from nothing else; ``kind`` says what the features
are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nim4asr.acoustics.frontend import FeatureConfig
from nim4asr.audio.samples import Floats
from nim4asr.data.noise import NoiseConfig


@dataclass(frozen=True)
class AugmentationConfig:
    """How features are varied; the paper's figures are the defaults where it has any."""

    rates: tuple[float, float] = (0.88, 1.14)
    """The range of speaking rates."""
    warps: tuple[float, float] = (0.9, 1.1)
    """The range of the factor on the frequency axis: a shorter or longer vocal tract."""
    level_db: float = 6.0
    """Twice the standard deviation of the level."""
    trim_share: float = 0.7
    """The share of the samples that lose the quiet around the speech."""
    noise: NoiseConfig | None = field(default_factory=NoiseConfig)
    narrowband_share: float = 0.0
    """The share of the samples that sound as if a telephone or a low-rate codec had passed them on."""
    noise_speeds: tuple[float, float] = (1.0, 1.0)
    """The range of the speeds at which noise without speech is played: one rooster becomes many animals."""
    frequency_masks: int = 2
    frequency_width: int = 18
    """The widest frequency mask, in Mel bands."""
    time_masks_per_second: float = 0.6
    time_width: int = 25
    """The longest time mask, in frames."""
    time_share: float = 0.3
    """The largest share of an utterance that time masks may hide."""


def vary(features: Floats, config: AugmentationConfig, random: Generator) -> Floats:
    """``features`` (T, bins) at another rate, by another voice, at another level: (T', bins)."""
    if random.random() < config.trim_share:
        features = trim(features)
    rate = random.uniform(*config.rates)
    warp = random.uniform(*config.warps)
    frames, bins = features.shape
    new_frames = max(1, round(frames / rate))
    rows = np.linspace(0, frames - 1, new_frames)
    columns = np.clip(np.arange(bins) * warp, 0, bins - 1)
    warped = _at(features, rows, columns)
    level = random.normal(0.0, config.level_db / 2) * np.log(10) / 10
    louder: Floats = (warped + level).astype(np.float32)
    return louder


def trim(features: Floats, margin: int = 12) -> Floats:
    """``features`` (T, bins) without the quiet before and after the speech, but for ``margin`` frames.

    Quiet is what stays under 30 % of the way, in log power, from the quietest frames to the loudest.
    """
    power = np.log(np.exp(features).mean(axis=1) + 1e-30)
    smooth = np.convolve(power, np.full(5, 0.2), "same")
    low, high = np.percentile(smooth, (5, 95))
    loud = np.flatnonzero(smooth > low + 0.3 * (high - low))
    if not len(loud):
        return features
    kept: Floats = features[max(0, loud[0] - margin) : loud[-1] + margin]
    return kept


def _at(features: Floats, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Floats:
    """``features`` between their frames and bands."""
    return _interpolate(_interpolate(features, rows).T, columns).T


def _interpolate(x: Floats, places: NDArray[np.float64]) -> Floats:
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, len(x) - 1)
    share = (places - below).astype(np.float32)[:, None]
    between: Floats = x[below] * (1 - share) + x[above] * share
    return between


def add_noise(
    features: Floats, noises: Sequence[Floats], config: NoiseConfig, kind: FeatureConfig, random: Generator
) -> Floats:
    """``features`` with silence put around them and one of ``noises`` (N, bins) mixed in."""
    before, after = (int(seconds * kind.hz) for seconds in config.draw_silences(random))
    silence = np.full((1, features.shape[1]), kind.silence, np.float32)
    padded = np.concatenate([silence.repeat(before, 0), features, silence.repeat(after, 0)])
    noise = noises[int(random.integers(len(noises)))]
    start = random.integers(len(noise))
    rows = (start + np.arange(len(padded))) % len(noise)
    snr = config.draw_snr_db(random)
    gap = _level(features) - _level(noise[rows]) - snr * np.log(10) / 10
    mixed: Floats = np.logaddexp(padded, noise[rows] + gap).astype(np.float32)
    return mixed


def limit_band(features: Floats, kind: FeatureConfig, random: Generator) -> Floats:
    """``features`` (T, bins) as a telephone or a low-rate codec would pass them on: nothing above a cutoff of
    3.4 to 7 kHz, and in two fifths of the cases little below one of 150 to 400 Hz.
    """
    bands = np.arange(features.shape[1])
    cutoff_hz = random.uniform(3400.0, 4000.0) if random.random() < 0.5 else random.uniform(4000.0, 7000.0)
    slope = random.uniform(1.0, 6.0)
    # Resampled and coded speech loses a factor of e^8 to e^22 of its power above, within a few bands.
    lost = random.uniform(8.0, 22.0) * np.clip((bands - kind.band(cutoff_hz)) / slope, 0.0, 1.0)
    if random.random() < 0.4:
        lowest_hz = random.uniform(150.0, 400.0)
        lost += random.uniform(3.0, 10.0) * np.clip((kind.band(lowest_hz) - bands) / 3, 0.0, 1.0)
    limited: Floats = np.logaddexp(features - lost, kind.silence).astype(np.float32)
    return limited


def play(features: Floats, speed: float, kind: FeatureConfig) -> Floats:
    """``features`` (T, bins) as a recording sounds ``speed`` times as fast, pitch and tempo alike:
    (T / speed, bins), about.

    Bands whose sound lay beyond the ends of the front end's range hear what was there.
    """
    bands = features.shape[1]
    places = [kind.band(kind.frequency_hz(band) / speed) for band in range(bands)]
    sources = np.clip(places, 0, bands - 1)
    rows = np.linspace(0, len(features) - 1, max(1, round(len(features) / speed)))
    return _at(features, rows, sources)


def _level(features: Floats) -> float:
    """The mean power, as a logarithm."""
    return float(np.log(np.exp(features.astype(np.float64)).mean() + 1e-30))


def mask(
    features: Floats,
    config: AugmentationConfig,
    kind: FeatureConfig,
    random: Generator,
    more_time: float = 1.0,
) -> Floats:
    """SpecAugment (Park et al. 2019): bands of normalized ``features`` (T, bins) set to zero.

    ``more_time`` multiplies the number of time masks and the share of time they may hide, as CR-CTC asks.
    """
    masked = features.copy()
    frames, bins = masked.shape
    for _ in range(config.frequency_masks):
        width = random.integers(0, config.frequency_width + 1)
        start = random.integers(0, max(1, bins - width))
        masked[:, start : start + width] = 0.0
    seconds = frames / kind.hz
    count = int(np.ceil(seconds * config.time_masks_per_second * more_time))
    widest = max(1, min(config.time_width, int(frames * config.time_share * more_time / max(1, count))))
    for _ in range(count):
        width = random.integers(0, widest + 1)
        start = random.integers(0, max(1, frames - width))
        masked[start : start + width] = 0.0
    return masked
