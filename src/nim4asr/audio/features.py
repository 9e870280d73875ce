"""Log-Mel filter-bank features: 80 bins, 25 ms windows every 10 ms, Kaldi's definition.

Samples are scaled to the 16-bit range first, as Kaldi's and FireRedASR's own statistics are, and
no dither is added, so that the same sound gives the same features.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import kaldi_native_fbank

SAMPLE_RATE = 16_000
MEL_BINS = 80
FRAME_LENGTH = 400
FRAME_SHIFT = 160
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SHIFT
# The encoder makes one frame of so many, and one of its frames lasts so many seconds.
SUBSAMPLING = 4
FRAME_SECONDS = SUBSAMPLING / FRAMES_PER_SECOND

_PCM_SCALE = 32_768.0

Floats = NDArray[np.float32]


class FeatureStream:
    """Features of one stream of samples, computed as they come.

    Any cutting of the samples gives the frames of the whole, bit by bit.
    """

    def __init__(self) -> None:
        self._extractor = _extractor()
        self._taken = 0

    def feed(self, samples: Floats) -> Floats:
        """Frames (T, 80) completed by ``samples`` (N,), 16 kHz mono in [-1, 1]; T may be 0."""
        if samples.size:
            self._extractor.accept_waveform(SAMPLE_RATE, samples * np.float32(_PCM_SCALE))
        ready = self._extractor.num_frames_ready
        frames = np.zeros((ready - self._taken, MEL_BINS), np.float32)
        for row, index in enumerate(range(self._taken, ready)):
            frames[row] = self._extractor.get_frame(index)
        # The extractor's frames are views that popping frees, hence the copies above.
        self._extractor.pop(ready - self._taken)
        self._taken = ready
        return frames


def log_mel(samples: Floats) -> Floats:
    """Features (T, 80) of ``samples`` (N,), 16 kHz mono in [-1, 1]; T = (N - 400) // 160 + 1.

    Fewer samples than one window give no frame.
    """
    return FeatureStream().feed(np.asarray(samples, np.float32))


def _extractor() -> "kaldi_native_fbank.OnlineFbank":
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = MEL_BINS
    return kaldi_native_fbank.OnlineFbank(options)


@dataclass(frozen=True, eq=False)
class Cmvn:
    """Global mean and variance normalization: (x - mean) * scale, both (80,)."""

    mean: Floats
    scale: Floats

    def __call__(self, features: Floats) -> Floats:
        """Normalized ``features`` (..., 80)."""
        return ((features - self.mean) * self.scale).astype(np.float32)

    @classmethod
    def from_sums(
        cls, count: float, total: NDArray[np.floating[Any]], squares: NDArray[np.floating[Any]]
    ) -> "Cmvn":
        """From Kaldi's statistics: the number of frames, their sum and their sum of squares."""
        if count <= 0:
            raise ValueError("normalization statistics need at least one frame")
        mean = np.asarray(total, np.float64) / count
        variance = np.maximum(np.asarray(squares, np.float64) / count - mean**2, 1e-20)
        return cls(mean.astype(np.float32), (1.0 / np.sqrt(variance)).astype(np.float32))
