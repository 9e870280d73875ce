"""The batches of the stages that train on speech."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from numpy.random import Generator

from nim4asr.acoustics.frontend import Frontend
from nim4asr.audio.samples import Floats
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import Collator, Sampler, SpeechBatch, WeightedCorpus
from nim4asr.data.frames import FrameBatch, FrameCollator, FrameSource, FrameStore
from nim4asr.model.encoders import Encoder
from nim4asr.model.shapes import ChunkScheme
from nim4asr.text.normalization import normalize

TextForm = Literal["plain", "written"]
# What a stage is trained on: speech to be encoded, or frames that have been.
HeardBatch = SpeechBatch | FrameBatch


def in_form(text: str, form: TextForm) -> str:
    """``text`` as a model of that form writes it: normalized, or as it stands, with single spaces."""
    return normalize(text) if form == "plain" else " ".join(text.split())


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a recipe has to train on. ``texts`` are those of all corpora and the text files, in ``form``.

    ``skipped`` is the file that names the utterances which could not be read, ``frames`` the folder for what
    a frozen encoder makes of them.
    """

    sources: Sequence[WeightedCorpus]
    frontend: Frontend
    noises: Sequence[Floats] = ()
    texts: Sequence[str] = ()
    skipped: Path | None = None
    form: TextForm = "plain"
    frames: Path | None = None


@dataclass(frozen=True)
class StoredFrames:
    """The frames of a frozen encoder, computed once for all stages whose data are alike."""

    chunks: tuple[ChunkScheme | None, ...] = (None, ChunkScheme())
    """So many augmentations of each utterance are stored, and take turns; each is heard in these chunks,
    None being whole.
    """

    def __post_init__(self) -> None:
        if not self.chunks:
            raise ValueError("stored frames need one augmentation of each utterance at least")


@dataclass(frozen=True)
class SpeechData:
    """Which speech a stage is trained on."""

    batch_seconds: float = 64.0
    """Seconds of audio in a batch, padding included."""
    max_s: float = 13.0
    """Longer utterances are left out."""
    min_s: float = 0.3
    """Shorter utterances are left out."""
    long_s: float = 10.0
    """Utterances of so many seconds and more are long,"""
    long_weight: float = 1.0
    """and come so many times as often."""
    empty_share: float = 0.0
    """The share of the samples that are noise alone, with nothing to write."""
    augmentation: AugmentationConfig | None = field(default_factory=AugmentationConfig)
    """None leaves utterances as they are."""
    seed: int = 0
    """Of the order and the augmentation."""
    utterance_cost_s: float = 0.0
    """What an utterance costs beside its length, in seconds of audio: its prompt. A batch of short
    utterances holds the fewer of them.
    """
    frames: StoredFrames | None = None
    """For a stage that leaves the encoder as it is: read its frames from a store, in the place of features.
    """

    def batches(
        self, data: TrainingData, views: int = 1, more_time_masks: float = 1.0
    ) -> Callable[[int, Generator], SpeechBatch]:
        """``make_batch(number, random)``: any batch, fixed by its number."""
        return partial(_make_batch, self._sampler(data), self._collator(data, views, more_time_masks))

    def frame_source(self, data: TrainingData, encoder: Encoder) -> FrameSource:
        """What the frames of ``frames`` are made of, by ``encoder``."""
        assert self.frames is not None
        corpora = [source.corpus for source in data.sources]
        collator = self._collator(data, 1, 1.0)
        return FrameSource(encoder, collator, corpora, self.frames.chunks, self.min_s, self.max_s)

    def frame_batches(self, data: TrainingData, encoder: Encoder) -> Callable[[int, Generator], FrameBatch]:
        """As ``batches``, of frames that have been stored. Raises ``InputError`` if they have not."""
        assert data.frames is not None
        source = self.frame_source(data, encoder)
        store = FrameStore(data.frames / source.key, source.corpora)
        return partial(_make_frames, self._sampler(data), FrameCollator(store, source.collator.text))

    def _sampler(self, data: TrainingData) -> Sampler:
        return Sampler(
            data.sources,
            self.batch_seconds,
            self.seed,
            self.max_s,
            self.min_s,
            self.long_s,
            self.long_weight,
            self.utterance_cost_s,
        )

    def _collator(self, data: TrainingData, views: int, more_time_masks: float) -> Collator:
        return Collator(
            data.frontend,
            self.augmentation,
            data.noises,
            views,
            more_time_masks,
            self.empty_share,
            partial(in_form, form=data.form),
            self.seed,
            data.skipped,
        )


def _make_batch(sampler: Sampler, collator: Collator, number: int, random: Generator) -> SpeechBatch:
    return collator(sampler.batch(number))


def _make_frames(sampler: Sampler, collator: FrameCollator, number: int, random: Generator) -> FrameBatch:
    return collator(sampler.batch(number))
