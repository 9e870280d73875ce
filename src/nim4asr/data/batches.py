"""Batches of utterances: by duration, in an order that a step number fixes."""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from nim4asr.acoustics.frontend import Frontend
from nim4asr.audio.samples import Floats
from nim4asr.data.augmentation import AugmentationConfig, mask, play
from nim4asr.data.corpus import Corpus, CorpusUtterance
from nim4asr.data.packing import Epochs, pack
from nim4asr.errors import InputError
from nim4asr.files import append_line
from nim4asr.model.encoders import Encoder
from nim4asr.model.shapes import ChunkScheme

Prepared = TypeVar("Prepared")


class SampledUtterance(NamedTuple):
    """An utterance of a corpus, drawn for the ``repetition``-th time: what fixes its augmentation."""

    corpus: Corpus
    utterance: CorpusUtterance
    repetition: int = 0


@dataclass(frozen=True)
class WeightedCorpus:
    """A corpus and how often an epoch holds each of its utterances (0.5: every second one)."""

    corpus: Corpus
    weight: float = 1.0


@dataclass(frozen=True)
class Sampler:
    """Which utterances make which batch.

    A batch holds about ``batch_seconds`` of audio, padding included, of utterances alike in length, from
    ``min_s`` to ``max_s``; each counts for ``utterance_cost_s`` more. Those of ``long_s`` seconds and more
    come ``long_weight`` times as often. The batches of an epoch depend on ``seed`` and the epoch alone, so
    that a resumed run repeats none.
    """

    sources: Sequence[WeightedCorpus]
    batch_seconds: float
    seed: int = 0
    max_s: float = 20.0
    min_s: float = 0.3
    long_s: float = 10.0
    long_weight: float = 1.0
    utterance_cost_s: float = 0.0

    def epoch(self, number: int) -> list[list[SampledUtterance]]:
        """The batches of one epoch. Raises ``InputError`` if no utterance is of such a length."""
        return self._epochs.epoch(number)

    def batch(self, step: int) -> list[SampledUtterance]:
        """The batch of the step ``step``, counted from 0 over all epochs."""
        return self._epochs.batch(step)

    @cached_property
    def _epochs(self) -> Epochs[SampledUtterance]:
        return Epochs(self._draw, self.seed)

    def _draw(self, number: int, random: Generator) -> list[list[SampledUtterance]]:
        chosen: list[SampledUtterance] = []
        for source in self.sources:
            for weight, utterances in self._usable(source):
                copies = math.ceil(weight)
                some = random.permutation(len(utterances))[: round((weight % 1.0) * len(utterances))]
                for copy in range(copies):
                    rows = range(len(utterances)) if copy < int(weight) else some
                    chosen += [
                        SampledUtterance(source.corpus, utterances[i], number * copies + copy) for i in rows
                    ]
        if not chosen:
            raise InputError(f"no utterance of {self.min_s:g} to {self.max_s:g} s to train on")
        hz = chosen[0].corpus.feature_config.hz
        costs = [drawn.utterance.frames + self.utterance_cost_s * hz for drawn in chosen]
        return pack(chosen, costs, self.batch_seconds * hz, random)

    def _usable(self, source: WeightedCorpus) -> list[tuple[float, list[CorpusUtterance]]]:
        """The utterances of a length to train on, the short and the long ones, each with their weight."""
        hz = source.corpus.feature_config.hz
        low, high = self.min_s * hz, self.max_s * hz
        usable = [utterance for utterance in source.corpus.utterances if low <= utterance.frames <= high]
        if self.long_weight == 1.0:
            return [(source.weight, usable)]
        bound = self.long_s * hz
        return [
            (source.weight, [utterance for utterance in usable if utterance.frames < bound]),
            (
                source.weight * self.long_weight,
                [utterance for utterance in usable if utterance.frames >= bound],
            ),
        ]


@dataclass(frozen=True)
class SpeechBatch:
    """``features`` (V, B, T, bins), normalized, in V views, ``feature_hz`` frames a second; ``lengths`` (B,);
    phoneme ``targets`` (sum of target_lengths,) and ``target_lengths`` (B,).
    """

    features: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    feature_hz: int

    @property
    def views(self) -> int:
        """In how many views each utterance is there."""
        return len(self.features)

    def encoded(self, encoder: Encoder, chunks: ChunkScheme | None = None) -> tuple[Tensor, Tensor]:
        """What ``encoder`` makes of the first view: frames (B, T', D) and their lengths (B,)."""
        frames: tuple[Tensor, Tensor] = encoder(self.features[0], self.lengths, chunks)
        return frames

    @property
    def seconds(self) -> float:
        """Seconds of audio, padding not counted."""
        return float(self.lengths.sum()) / self.feature_hz

    @property
    def durations_s(self) -> list[float]:
        """Seconds of audio of each utterance."""
        durations: list[float] = (self.lengths / self.feature_hz).tolist()
        return durations

    def to(self, device: torch.device) -> "SpeechBatch":
        """The same batch on ``device``."""
        return SpeechBatch(
            self.features.to(device),
            self.lengths.to(device),
            self.targets.to(device),
            self.target_lengths.to(device),
            self.texts,
            self.ids,
            self.feature_hz,
        )


@dataclass(frozen=True)
class Collator:
    """Utterances to a ``SpeechBatch``: augmented (unless ``augmentation`` is None), normalized, padded.

    How an utterance is augmented depends on ``seed``, its id and how often it has been drawn, and on nothing
    else in the batch. ``empty_share`` of them are noise alone with an empty text instead; ``text`` is applied
    to every text. Utterances that cannot be read are left out, and noted in the file ``skipped``, a line of
    JSON each.
    """

    frontend: Frontend
    augmentation: AugmentationConfig | None = None
    noises: Sequence[Floats] = ()
    views: int = 1
    more_time_masks: float = 1.0
    empty_share: float = 0.0
    text: Callable[[str], str] = str
    seed: int = 0
    skipped: Path | None = None

    def __call__(self, batch: Sequence[SampledUtterance]) -> SpeechBatch:
        """Raises ``InputError`` if no utterance of the batch can be read."""
        views: list[list[Floats]] = []
        texts: list[str] = []
        phonemes: list[tuple[int, ...]] = []
        ids: list[str] = []
        for drawn in batch:
            utterance = drawn.utterance
            random = default_rng([self.seed, zlib.crc32(utterance.id.encode()), drawn.repetition])
            empty = random.random() < self.empty_share and len(self.noises) > 0
            try:
                features = self._noise(random) if empty else self._features(drawn, random)
            except InputError as error:
                self._skip(utterance, error)
                continue
            texts.append("" if empty else self.text(utterance.text))
            phonemes.append(() if empty else utterance.phonemes)
            ids.append(utterance.id)
            views.append(self._views(self.frontend.normalization(features), random))
        if not views:
            raise InputError(f"no utterance of a whole batch can be read, among them {batch[0].utterance.id}")
        lengths = torch.tensor([len(row[0]) for row in views])
        padded = torch.zeros(self.views, len(views), int(lengths.max()), views[0][0].shape[1])
        for row, of_one in enumerate(views):
            for v, view in enumerate(of_one):
                padded[v, row, : len(view)] = torch.from_numpy(view)
        return SpeechBatch(
            features=padded,
            lengths=lengths,
            targets=torch.tensor([phoneme for row in phonemes for phoneme in row], dtype=torch.long),
            target_lengths=torch.tensor([len(row) for row in phonemes]),
            texts=tuple(texts),
            ids=tuple(ids),
            feature_hz=self.frontend.features.hz,
        )

    def _features(self, drawn: SampledUtterance, random: Generator) -> Floats:
        if self.augmentation is None:
            return drawn.corpus.features(drawn.utterance).astype(np.float32)
        return drawn.corpus.augmented(drawn.utterance, self.augmentation, self.noises, random)

    def _views(self, features: Floats, random: Generator) -> list[Floats]:
        if self.augmentation is None:
            return [features] * self.views
        augmentation, kind = self.augmentation, self.frontend.features
        return [mask(features, augmentation, kind, random, self.more_time_masks) for _ in range(self.views)]

    def _skip(self, utterance: CorpusUtterance, error: InputError) -> None:
        if self.skipped is not None:
            row = {"id": utterance.id, "reason": str(error)}
            append_line(self.skipped, json.dumps(row, ensure_ascii=False) + "\n")

    def _noise(self, random: Generator) -> Floats:
        """Noise alone, 0.5 to 5 s of it, from inaudible to loud."""
        noise = self.noises[int(random.integers(len(self.noises)))]
        frames = int(random.uniform(0.5, 5.0) * self.frontend.features.hz)
        start = int(random.integers(len(noise)))
        slowest, fastest = (1.0, 1.0) if self.augmentation is None else self.augmentation.noise_speeds
        speed = slowest if slowest == fastest else float(np.exp(random.uniform(*np.log([slowest, fastest]))))
        part = noise[(start + np.arange(max(1, round(frames * speed)))) % len(noise)]
        if speed != 1.0:
            part = play(part, speed, self.frontend.features)
        quieter: Floats = np.maximum(part - random.uniform(0.0, 12.0), self.frontend.features.silence).astype(
            np.float32
        )
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
