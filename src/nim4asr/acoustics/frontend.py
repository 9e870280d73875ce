"""All that a model hears by, in one hand: its features, their normalization and its encoder's clock."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from nim4asr.acoustics.clock import FrameClock
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.acoustics.normalization import Normalization
from nim4asr.acoustics.whisper import WhisperFeatures
from nim4asr.audio.samples import Floats

# What a configuration may name. A kind is a frozen dataclass: ``kind``, ``bins``, ``hz`` (frames a second),
# ``silence`` (the features of digital silence), ``normalization`` (None: it is measured on the training
# data), ``stream()``, ``band(frequency_hz)`` and ``frequency_hz(band)``. Features are natural logarithms of
# sound power, so that augmentation can add powers whatever the kind.
FeatureConfig = KaldiFeatures | WhisperFeatures


_KINDS: tuple[type[KaldiFeatures] | type[WhisperFeatures], ...] = (KaldiFeatures, WhisperFeatures)


def features_to_row(config: FeatureConfig) -> dict[str, Any]:
    """A kind of features as JSON keeps it."""
    return {"kind": config.kind, **asdict(config)}


def features_from_row(row: Mapping[str, Any]) -> FeatureConfig:
    """The inverse of ``features_to_row``. Raises ``ValueError`` or ``TypeError`` for what is no such row."""
    values = dict(row)
    kind = values.pop("kind", KaldiFeatures.kind)
    for known in _KINDS:
        if known.kind == kind:
            return known(**values)
    raise ValueError(f"no features of the kind {kind!r}")


class FeatureStream(Protocol):
    """Features of one stream of samples, before normalization; any cutting gives the same, bit by bit."""

    def feed(self, samples: Floats) -> Floats:
        """Frames (T, bins) completed by ``samples`` (N,), 16 kHz mono in [-1, 1]; T may be 0."""

    def finish(self) -> Floats:
        """The frames (T, bins) that the stream's end completes."""


def features_of(samples: Floats, config: FeatureConfig) -> Floats:
    """Features (T, bins) of ``samples`` (N,), 16 kHz mono in [-1, 1], before normalization."""
    stream: FeatureStream = config.stream()
    return np.concatenate([stream.feed(np.asarray(samples, np.float32)), stream.finish()])


@dataclass(frozen=True, eq=False)
class Frontend:
    """What a model hears by; called with samples (N,), it gives their normalized features (T, bins)."""

    features: FeatureConfig
    normalization: Normalization
    clock: FrameClock

    def __call__(self, samples: Floats) -> Floats:
        return self.normalization(features_of(samples, self.features))

    def stream(self) -> "NormalizedStream":
        """The normalized features of one stream of samples."""
        return NormalizedStream(self.features.stream(), self.normalization)

    @property
    def nothing(self) -> Floats:
        """No frames: (0, bins)."""
        return np.zeros((0, self.features.bins), np.float32)


class NormalizedStream:
    """A ``FeatureStream`` whose frames are normalized."""

    def __init__(self, stream: FeatureStream, normalization: Normalization) -> None:
        self._stream, self._normalization = stream, normalization

    def feed(self, samples: Floats) -> Floats:
        """Normalized frames (T, bins) completed by ``samples`` (N,); T may be 0."""
        return self._normalization(self._stream.feed(samples))

    def finish(self) -> Floats:
        """The normalized frames (T, bins) that the stream's end completes."""
        return self._normalization(self._stream.finish())
