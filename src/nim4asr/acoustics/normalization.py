"""How features are brought into the range that an encoder is trained on."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats


class Normalization(Protocol):
    """A map of features (..., bins) to what the encoder takes, frame by frame."""

    def __call__(self, features: Floats) -> Floats: ...

    def is_close(self, other: "Normalization") -> bool:
        """Whether both give about the same."""


@dataclass(frozen=True, eq=False)
class Cmvn:
    """Global mean and variance normalization: (x - mean) * scale, both (bins,)."""

    mean: Floats
    scale: Floats

    def __call__(self, features: Floats) -> Floats:
        """Normalized ``features`` (..., bins)."""
        return ((features - self.mean) * self.scale).astype(np.float32)

    def is_close(self, other: Normalization) -> bool:
        """Whether ``other`` has about the same mean and scale."""
        if not isinstance(other, Cmvn):
            return False
        pairs = ((self.mean, other.mean), (self.scale, other.scale))
        return all(np.allclose(own, theirs, rtol=1e-3) for own, theirs in pairs)

    @classmethod
    def neutral(cls, bins: int) -> "Cmvn":
        """The normalization that leaves features as they are."""
        return cls(np.zeros(bins, np.float32), np.ones(bins, np.float32))

    @classmethod
    def from_sums(
        cls, count: float, total: NDArray[np.floating[Any]], squares: NDArray[np.floating[Any]]
    ) -> "Cmvn":
        """From Kaldi's statistics: the number of frames, their sum and their sum of squares.

        Raises ``ValueError`` if there is no frame.
        """
        if count <= 0:
            raise ValueError("normalization statistics need at least one frame")
        mean = np.asarray(total, np.float64) / count
        variance = np.maximum(np.asarray(squares, np.float64) / count - mean**2, 1e-20)
        return cls(mean.astype(np.float32), (1.0 / np.sqrt(variance)).astype(np.float32))
