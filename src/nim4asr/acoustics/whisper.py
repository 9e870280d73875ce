"""Whisper's log-Mel features: 25 ms Hann windows every 10 ms, Slaney's bands, streamed.

Whisper itself scales each clip by its own maximum, and hears 30 s of it at once:

    x = log10(max(power, 1e-10));  x = max(x, max(x) - 8);  x = (x + 4) / 4

A live stream does not know its maximum. Here a fixed reference takes its place, in training and in
recognition alike. With the clip's own maximum as reference the result is Whisper's.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from nim4asr.acoustics.normalization import Normalization
from nim4asr.audio.samples import SAMPLE_RATE, Floats

_WINDOW, _SHIFT = 400, 160
# Half a window: frame t is centered at sample 160 t.
_REACH = _WINDOW // 2
_FLOOR = 1e-10
# The natural logarithm of what Whisper takes decades of: a frame is kept as other features are, and sound
# powers add as exp.
_DECADE = float(np.log(10.0))
_DECADES_KEPT = 8.0


@dataclass(frozen=True)
class WhisperFeatures:
    """The natural logarithm of the Mel power of ``bins`` bands from 0 to 8,000 Hz, N // 160 frames of N
    samples.

    80 bins for all of Whisper's models but large-v3 and large-v3-turbo, which have 128. ``reference`` stands
    for the largest log10 power of a clip.
    """

    bins: int = 80
    reference: float = 1.0
    kind: ClassVar[str] = "whisper"
    hz: ClassVar[int] = SAMPLE_RATE // _SHIFT
    silence: ClassVar[float] = float(np.log(_FLOOR))
    """The features of digital silence."""

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 256:
            raise ValueError(f"features have from 2 to 256 bins, not {self.bins}")
        if not -10 <= self.reference <= 10:
            raise ValueError(f"the reference is a logarithm from -10 to 10, not {self.reference}")

    @property
    def normalization(self) -> "WhisperScale":
        """Whisper's own, with the fixed reference."""
        return WhisperScale(self.reference)

    def stream(self) -> "WhisperStream":
        """The features of one stream of samples."""
        return WhisperStream(self.bins)

    def band(self, frequency_hz: float) -> float:
        """The band whose center is at ``frequency_hz``, with fractions."""
        return float(_to_mel(np.float64(frequency_hz)) / _TOP_MEL * (self.bins + 1) - 1)

    def frequency_hz(self, band: float) -> float:
        """The center of a band, the inverse of ``band``."""
        return float(_to_hz(np.float64((band + 1) / (self.bins + 1) * _TOP_MEL)))


@dataclass(frozen=True)
class WhisperScale:
    """(max(log10 power, reference - 8) + 4) / 4, from the natural logarithm of the power."""

    reference: float

    def __call__(self, features: Floats) -> Floats:
        """Normalized ``features`` (..., bins)."""
        decades = features / np.float32(_DECADE)
        scaled: Floats = (np.maximum(decades, np.float32(self.reference - _DECADES_KEPT)) + 4) / 4
        return scaled.astype(np.float32, copy=False)

    def is_close(self, other: Normalization) -> bool:
        """Whether ``other`` has the same reference."""
        return isinstance(other, WhisperScale) and abs(self.reference - other.reference) < 1e-3


class WhisperStream:
    """Features of one stream of samples, computed as they come.

    Any cutting of the samples gives the frames of the whole, bit by bit: each frame is computed alone.
    """

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self._samples = np.zeros(0, np.float32)
        # How many samples stand before the next frame's window, counted from the stream's reflected start.
        self._begun = False
        self._heard = 0
        self._made = 0

    def feed(self, samples: Floats) -> Floats:
        """Frames (T, bins) completed by ``samples`` (N,), 16 kHz mono in [-1, 1]; T may be 0."""
        self._heard += len(samples)
        self._samples = np.concatenate([self._samples, np.asarray(samples, np.float32)])
        if not self._begun and len(self._samples) > _REACH:
            self._begin()
        return self._frames(self._complete())

    def finish(self) -> Floats:
        """The last frames (T, bins), whose windows reach past the end, where silence is."""
        rest = self._heard // _SHIFT - self._made
        self._samples = np.concatenate([self._samples, np.zeros(_WINDOW, np.float32)])
        if not self._begun:
            self._begin()
        return self._frames(rest)

    def _begin(self) -> None:
        """Whisper's windows see the start reflected, as ``numpy.pad``'s mode reflect has it."""
        self._samples = np.concatenate([self._samples[_REACH:0:-1], self._samples])
        self._begun = True

    def _complete(self) -> int:
        if not self._begun or len(self._samples) < _WINDOW:
            return 0
        return (len(self._samples) - _WINDOW) // _SHIFT + 1

    def _frames(self, count: int) -> Floats:
        frames = np.empty((max(0, count), self._bins), np.float32)
        if count > 0:
            windows = np.lib.stride_tricks.sliding_window_view(self._samples, _WINDOW)[::_SHIFT][:count]
            spectra = np.fft.rfft(windows * _hann())
            powers = np.square(np.abs(spectra)).astype(np.float32)
            filters = mel_filters(self._bins)
            for row, power in enumerate(powers):
                # One product a frame: that of several at once may round otherwise.
                frames[row] = filters @ power
            np.log(np.maximum(frames, np.float32(_FLOOR)), out=frames)
            self._samples = self._samples[count * _SHIFT :]
            self._made += count
        return frames


@cache
def _hann() -> Floats:
    """The periodic Hann window."""
    return np.hanning(_WINDOW + 1)[:-1].astype(np.float32)


@cache
def mel_filters(bins: int) -> Floats:
    """Slaney's triangular filters over the 201 frequencies of a window, (bins, 201), each of equal area
    (Slaney, "Auditory Toolbox", 1998).
    """
    corners = _to_hz(np.linspace(0.0, _TOP_MEL, bins + 2))
    frequencies = np.linspace(0.0, SAMPLE_RATE / 2, _WINDOW // 2 + 1)
    rising = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: Floats = (triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None]).astype(np.float32)
    return filters


# Slaney's scale is linear up to 1,000 Hz, 15 mels, and logarithmic above: 27 mels for a factor of 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ, _BREAK_MEL = 1000.0, 15.0
_MELS_PER_LOG = 27.0 / float(np.log(6.4))


def _to_mel(hz: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) * _MELS_PER_LOG
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ_PER_MEL, above)


def _to_hz(mel: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp((np.maximum(mel, _BREAK_MEL) - _BREAK_MEL) / _MELS_PER_LOG)
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ_PER_MEL, above)


_TOP_MEL = float(_to_mel(np.float64(SAMPLE_RATE / 2)))
