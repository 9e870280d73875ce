"""Batches of stored utterances: by duration, in an order that a step number fixes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import Queue
from threading import Thread
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from nim4asr.audio.features import FRAMES_PER_SECOND, Cmvn, Floats
from nim4asr.data.augmentation import SILENCE, AugmentationConfig, add_noise, mask, vary
from nim4asr.data.packing import Epochs, pack
from nim4asr.data.store import Entry, FeatureStore
from nim4asr.errors import InputError

Prepared = TypeVar("Prepared")
Stored = tuple[FeatureStore, Entry]


@dataclass(frozen=True)
class Source:
    """A store and how often an epoch holds each of its utterances (0.5: every second one)."""

    store: FeatureStore
    weight: float = 1.0


@dataclass(frozen=True)
class Sampler:
    """Which utterances make which batch.

    A batch holds about ``seconds`` of audio, padding included, of utterances alike in length. The
    batches of an epoch depend on ``seed`` and the epoch alone, so that a resumed run repeats none.
    """

    sources: Sequence[Source]
    seconds: float
    seed: int = 0
    longest: float = 20.0
    shortest: float = 0.3

    def epoch(self, number: int) -> list[list[Stored]]:
        """The batches of one epoch. Raises ``InputError`` if no utterance is of such a length."""
        return self._epochs.epoch(number)

    def batch(self, step: int) -> list[Stored]:
        """The batch of the step ``step``, counted from 0 over all epochs."""
        return self._epochs.batch(step)

    @cached_property
    def _epochs(self) -> Epochs[Stored]:
        return Epochs(self._draw, self.seed)

    def _draw(self, random: Generator) -> list[list[Stored]]:
        chosen: list[Stored] = []
        low, high = self.shortest * FRAMES_PER_SECOND, self.longest * FRAMES_PER_SECOND
        for source in self.sources:
            usable = [e for e in source.store.entries if low <= e.frames <= high]
            whole, part = divmod(source.weight, 1.0)
            chosen += [(source.store, entry) for entry in usable] * int(whole)
            some = random.permutation(len(usable))[: round(part * len(usable))]
            chosen += [(source.store, usable[i]) for i in some]
        if not chosen:
            raise InputError(f"no utterance of {self.shortest:g} to {self.longest:g} s to train on")
        frames = [entry.frames for _, entry in chosen]
        return pack(chosen, frames, self.seconds * FRAMES_PER_SECOND, random)


@dataclass(frozen=True)
class SpeechBatch:
    """``features`` (V, B, T, 80), normalised, in V views; ``lengths`` (B,); phoneme ``targets``
    (sum of target_lengths,) and ``target_lengths`` (B,).
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    texts: tuple[str, ...]
    ids: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Seconds of audio, padding not counted."""
        return float(self.lengths.sum()) / FRAMES_PER_SECOND


@dataclass(frozen=True)
class Collator:
    """Utterances to a ``SpeechBatch``: augmented (unless ``augmentation`` is None), normalised, padded.

    ``empty_share`` of them are noise alone with an empty text instead; ``text`` is applied to every text.
    """

    cmvn: Cmvn
    augmentation: AugmentationConfig | None = None
    noises: Sequence[Floats] = ()
    views: int = 1
    more_time_masks: float = 1.0
    empty_share: float = 0.0
    text: Callable[[str], str] = str

    def __call__(self, batch: Sequence[Stored], random: Generator) -> SpeechBatch:
        views: list[list[Floats]] = [[] for _ in range(self.views)]
        texts: list[str] = []
        phonemes: list[tuple[int, ...]] = []
        config = self.augmentation
        for store, entry in batch:
            empty = random.random() < self.empty_share and len(self.noises) > 0
            texts.append("" if empty else self.text(entry.text))
            phonemes.append(() if empty else entry.phonemes)
            features = self._noise(random) if empty else store.features(entry).astype(np.float32)
            if config is not None and not empty:
                features = vary(features, config, random)
                if len(self.noises) and random.random() < config.noise_share:
                    features = add_noise(features, self.noises, config, random)
            features = self.cmvn(features)
            for view in views:
                view.append(
                    mask(features, config, random, self.more_time_masks) if config is not None else features
                )
        lengths = torch.tensor([len(x) for x in views[0]])
        padded = torch.zeros(self.views, len(batch), int(lengths.max()), views[0][0].shape[1])
        for v, view in enumerate(views):
            for row, features in enumerate(view):
                padded[v, row, : len(features)] = torch.from_numpy(features)
        return SpeechBatch(
            features=padded,
            lengths=lengths,
            targets=torch.tensor([p for one in phonemes for p in one], dtype=torch.long),
            target_lengths=torch.tensor([len(one) for one in phonemes]),
            texts=tuple(texts),
            ids=tuple(entry.id for _, entry in batch),
        )

    def _noise(self, random: Generator) -> Floats:
        """Noise alone, 0.5 to 5 s of it, from inaudible to loud."""
        noise = self.noises[int(random.integers(len(self.noises)))]
        frames = int(random.uniform(0.5, 5.0) * FRAMES_PER_SECOND)
        start = int(random.integers(len(noise)))
        part = noise[(start + np.arange(frames)) % len(noise)]
        quieter: Floats = np.maximum(part - random.uniform(0.0, 12.0), SILENCE).astype(np.float32)
        return quieter


class Prefetcher(Generic[Prepared]):
    """Runs an iterator in a thread, a few items ahead; errors come out where the item would."""

    def __init__(self, items: Iterator[Prepared], ahead: int = 4) -> None:
        self._queue: Queue[tuple[Prepared | None, BaseException | None]] = Queue(ahead)
        self._thread = Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def _run(self, items: Iterator[Prepared]) -> None:
        try:
            for item in items:
                self._queue.put((item, None))
        except BaseException as error:
            self._queue.put((None, error))
        else:
            self._queue.put((None, StopIteration()))

    def __iter__(self) -> Iterator[Prepared]:
        while True:
            item, error = self._queue.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item
