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
from nim4asr.text.normalization import normalize

TextForm = Literal["plain", "written"]


def in_form(text: str, form: TextForm) -> str:
    """``text`` as a model of that form writes it: normalized, or as it stands, with single spaces."""
    return normalize(text) if form == "plain" else " ".join(text.split())


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a recipe has to train on. ``texts`` are those of all corpora and the text files, in ``form``.

    ``skipped`` is the file that names the utterances which could not be read.
    """

    sources: Sequence[WeightedCorpus]
    frontend: Frontend
    noises: Sequence[Floats] = ()
    texts: Sequence[str] = ()
    skipped: Path | None = None
    form: TextForm = "plain"


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

    def batches(
        self, data: TrainingData, views: int = 1, more_time_masks: float = 1.0
    ) -> Callable[[int, Generator], SpeechBatch]:
        """``make_batch(number, random)``: any batch, fixed by its number."""
        sampler = Sampler(
            data.sources,
            self.batch_seconds,
            self.seed,
            self.max_s,
            self.min_s,
            self.long_s,
            self.long_weight,
        )
        collator = Collator(
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
        return partial(_make_batch, sampler, collator)


def _make_batch(sampler: Sampler, collator: Collator, number: int, random: Generator) -> SpeechBatch:
    return collator(sampler.batch(number))
