"""How loud a recording is, and more of it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError

# Decibels of gain, or as many as bring the recording to the level of ordinary speech.
Gain = float | Literal["auto"]

_WINDOW = SAMPLE_RATE // 10
# Windows below this are silence; those this much below the mean of the others are pauses (EBU R 128 gates so,
# at -70 and -10).
_SILENCE_DB, _PAUSE_DB = -100.0, -10.0
_STEP_DB = 0.5
_BINS = 300
# What automatic gain brings a recording to, and by how much at most.
_TARGET_DB = -20.0
MOST_GAIN_DB = 60.0


class LevelMeter:
    """The level of a stream of 16 kHz samples: the root mean square of its windows of 100 ms in dB of full
    scale, pauses and silence left out as EBU R 128 does. A sine of full scale has -3 dBFS.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._power = np.zeros(_BINS)
        self._rest = np.zeros(0, np.float32)

    def add(self, samples: Floats) -> None:
        """Hear ``samples`` (N,) too."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // _WINDOW * _WINDOW
        self._rest = samples[whole:]
        power = np.square(samples[:whole].reshape(-1, _WINDOW), dtype=np.float64).mean(axis=1)
        self._count(power)

    @property
    def level(self) -> float:
        """The level in dBFS of what was heard so far; minus infinity for silence."""
        if not self._counts.any() and len(self._rest):
            # Shorter than a window.
            self._count(np.array([np.square(self._rest, dtype=np.float64).mean()]))
            self._rest = self._rest[:0]
        if not self._counts.any():
            return -math.inf
        gate = _decibels(self._power.sum() / self._counts.sum()) + _PAUSE_DB
        first = max(0, math.floor((gate - _SILENCE_DB) / _STEP_DB))
        return _decibels(self._power[first:].sum() / self._counts[first:].sum())

    def _count(self, power: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
        power = power[power > 10 ** (_SILENCE_DB / 10)]
        bins = np.minimum((10 * np.log10(power) - _SILENCE_DB) / _STEP_DB, _BINS - 1).astype(np.int64)
        np.add.at(self._counts, bins, 1)
        np.add.at(self._power, bins, power)


def checked_gain(gain: Gain) -> Gain:
    """``gain`` itself. Raises ``InputError`` for what is neither ``"auto"`` nor from -60 to 60 dB."""
    if gain != "auto" and not (isinstance(gain, int | float) and -MOST_GAIN_DB <= gain <= MOST_GAIN_DB):
        raise InputError(f"the gain is auto or from {-MOST_GAIN_DB:g} to {MOST_GAIN_DB:g} dB, not {gain!r}")
    return gain


def automatic_gain(blocks: Iterable[Floats]) -> float:
    """So many dB bring ``blocks`` to -20 dBFS: none for what is as loud or silent, 60 at most."""
    meter = LevelMeter()
    for block in blocks:
        meter.add(block)
    if math.isinf(meter.level):
        return 0.0
    return min(max(0.0, _TARGET_DB - meter.level), MOST_GAIN_DB)


def amplified(blocks: Iterable[Floats], gain_db: float) -> Iterator[Floats]:
    """``blocks`` with ``gain_db`` more; what would be beyond full scale is cut there."""
    factor = np.float32(10 ** (gain_db / 20))
    for block in blocks:
        yield block if gain_db == 0 else np.clip(block * factor, -1, 1, dtype=np.float32)


def _decibels(power: float) -> float:
    return 10 * math.log10(power)


def no_speech(level: float, advice: Sequence[str] = (), raised_db: float = 0.0) -> str:
    """That nothing was said in a sound of that ``level`` in dBFS, before it was made louder by ``raised_db``;
    and the ``advice`` what to try if someone speaks, which nobody does in silence.
    """
    silent = math.isinf(level)
    loud = "the sound is silent" if silent else f"level {level:.0f} dBFS"
    raised = f", {raised_db:+.0f} dB of gain" if raised_db else ""
    told = f"; if someone speaks, try {' or '.join(advice)}" if advice and not silent else ""
    return f"no speech was found ({loud}{raised}){told}"
