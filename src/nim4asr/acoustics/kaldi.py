"""Kaldi's log-Mel filter-bank features: 25 ms windows every 10 ms.

Samples are scaled to the 16-bit range first, as Kaldi's and FireRedASR's own statistics are, and
no dither is added, so that the same sound gives the same features.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nim4asr.acoustics.normalization import Normalization
from nim4asr.audio.samples import SAMPLE_RATE, Floats

if TYPE_CHECKING:
    import kaldi_native_fbank

_PCM_SCALE = 32_768.0
# The ends of the filter bank's range.
_LOWEST_HZ, _HIGHEST_HZ = 20.0, 8000.0


@dataclass(frozen=True)
class KaldiFeatures:
    """Log-Mel power of ``bins`` bands from 20 to 8,000 Hz; frame t of the samples 160 t to 160 t + 399."""

    bins: int = 80
    kind: ClassVar[str] = "kaldi"
    hz: ClassVar[int] = 100
    silence: ClassVar[float] = float(np.log(np.finfo(np.float32).eps))
    """The features of digital silence."""
    normalization: ClassVar[Normalization | None] = None
    """Measured on the training data."""

    def __post_init__(self) -> None:
        if not 2 <= self.bins <= 256:
            raise ValueError(f"features have from 2 to 256 bins, not {self.bins}")

    def stream(self) -> "KaldiStream":
        """The features of one stream of samples."""
        return KaldiStream(self.bins)

    def band(self, frequency_hz: float) -> float:
        """The band whose center is at ``frequency_hz``, with fractions."""
        low, high, mel = (_mel(f) for f in (_LOWEST_HZ, _HIGHEST_HZ, frequency_hz))
        return (mel - low) / (high - low) * (self.bins + 1) - 1

    def frequency_hz(self, band: float) -> float:
        """The center of a band, the inverse of ``band``."""
        low, high = _mel(_LOWEST_HZ), _mel(_HIGHEST_HZ)
        return 700.0 * float(np.expm1((low + (band + 1) / (self.bins + 1) * (high - low)) / 1127.0))


class KaldiStream:
    """Features of one stream of samples, computed as they come.

    Any cutting of the samples gives the frames of the whole, bit by bit.
    """

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self._extractor = _extractor(bins)
        self._taken = 0

    def feed(self, samples: Floats) -> Floats:
        """Frames (T, bins) completed by ``samples`` (N,), 16 kHz mono in [-1, 1]; T may be 0."""
        if samples.size:
            self._extractor.accept_waveform(SAMPLE_RATE, samples * np.float32(_PCM_SCALE))
        ready = self._extractor.num_frames_ready
        frames = np.zeros((ready - self._taken, self._bins), np.float32)
        for row, index in enumerate(range(self._taken, ready)):
            frames[row] = self._extractor.get_frame(index)
        # The extractor's frames are views that popping frees, hence the copies above.
        self._extractor.pop(ready - self._taken)
        self._taken = ready
        return frames

    def finish(self) -> Floats:
        """No frames (0, bins): a window that is not full gives none."""
        return np.zeros((0, self._bins), np.float32)


def _extractor(bins: int) -> "kaldi_native_fbank.OnlineFbank":
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = bins
    return kaldi_native_fbank.OnlineFbank(options)


def _mel(frequency_hz: float) -> float:
    return 1127.0 * float(np.log1p(frequency_hz / 700.0))
