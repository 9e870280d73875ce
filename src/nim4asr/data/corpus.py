"""What training asks of a corpus, however its audio is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.random import Generator
from numpy.typing import NDArray

from nim4asr.acoustics.frontend import FeatureConfig
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.audio.samples import Floats
from nim4asr.data.augmentation import AugmentationConfig


@dataclass(frozen=True)
class LabeledUtterance:
    """An utterance with its labels."""

    id: str
    text: str
    language: str
    phonemes: tuple[int, ...]
    """Indices into the phoneme table."""


@dataclass(frozen=True)
class CorpusUtterance(LabeledUtterance):
    """An utterance of a corpus, at its place ``row`` there, and how many feature frames it has, or should
    have.
    """

    row: int
    frames: int


class Corpus(Protocol):
    """Utterances that can be read at random."""

    @property
    def utterances(self) -> Sequence[CorpusUtterance]:
        """All of them, by their rows."""
        ...

    @property
    def feature_config(self) -> FeatureConfig:
        """What its features are."""
        ...

    def features(self, utterance: CorpusUtterance) -> NDArray[Any]:
        """Its log-Mel features (T, bins), before normalization. Raises ``InputError`` if they cannot be
        read.
        """
        ...

    def augmented(
        self,
        utterance: CorpusUtterance,
        config: AugmentationConfig,
        noises: Sequence[Floats],
        random: Generator,
    ) -> Floats:
        """Its features (T, bins), varied as this kind of corpus is. Raises ``InputError`` as ``features``
        does.
        """
        ...

    @property
    def variation(self) -> Mapping[str, Any]:
        """What decides how its features are varied, beside what ``augmented`` is given."""
        ...

    def cmvn(self) -> Cmvn:
        """The global normalization of its features. Raises ``InputError`` if none can be read."""
        ...
