"""Frames of a frozen encoder, computed once and stored: what a stage that leaves the encoder as it is reads
in the place of features.

Some augmentations of every utterance are heard once each, and take turns in training. They lie in a folder
named by a key, the check sum of all that they were made by: the encoder's weights, the features and their
normalization, the augmentation and its seed, the utterances, and the chunks they were heard in. So frames of
another encoder are never read for this one's.

In it are shards, ``00000.f16`` (frames, D; half precision) and ``00000.jsonl`` (an utterance a line, in the
order of its frames), and ``frames.json`` once all of them are there. Work that was cut goes on with the first
shard that is missing.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import Tensor

from nim4asr.acoustics.frontend import features_to_row
from nim4asr.data.batches import Collator, SampledUtterance, SpeechBatch
from nim4asr.data.corpus import Corpus, CorpusUtterance
from nim4asr.data.packing import pack
from nim4asr.errors import InputError
from nim4asr.files import atomic_file, parse_json, read_text, reason, write_atomic, write_json_lines
from nim4asr.model.encoders import Encoder
from nim4asr.model.shapes import ChunkScheme
from nim4asr.progress import ProgressReporter, no_progress

_DONE = "frames.json"
# Utterances of a shard: some minutes of work, some hundred megabytes.
_SHARD = 512
_MOST = float(np.finfo(np.float16).max)
_KEY_DIGITS = 24
_KEY = re.compile(f"[0-9a-f]{{{_KEY_DIGITS}}}")


@dataclass(frozen=True)
class FrameBatch:
    """A ``SpeechBatch`` behind the encoder: ``frames`` (B, T', D) of which ``lengths`` (B,) count, and the
    same labels.
    """

    frames: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    texts: tuple[str, ...]
    ids: tuple[str, ...]
    views: ClassVar[int] = 1

    def encoded(self, encoder: Encoder, chunks: ChunkScheme | None = None) -> tuple[Tensor, Tensor]:
        """The frames and their lengths; the encoder has made them already, in chunks of its own."""
        return self.frames, self.lengths

    def to(self, device: torch.device) -> "FrameBatch":
        """The same batch on ``device``."""
        return FrameBatch(
            self.frames.to(device),
            self.lengths.to(device),
            self.targets.to(device),
            self.target_lengths.to(device),
            self.texts,
            self.ids,
        )


class _Heard(NamedTuple):
    """An utterance to be heard: the corpus, by its place among all, and the augmentation."""

    corpus: int
    utterance: CorpusUtterance
    view: int


@dataclass(frozen=True, eq=False)
class FrameSource:
    """What frames are made of, and by.

    ``collator`` augments the utterances of ``corpora`` from ``min_s`` to ``max_s``; the augmentation number v
    is what it makes of an utterance drawn for the v-th time, and is heard in ``chunks[v]``, None being whole.
    """

    encoder: Encoder
    collator: Collator
    corpora: Sequence[Corpus]
    chunks: tuple[ChunkScheme | None, ...]
    min_s: float
    max_s: float

    @cached_property
    def key(self) -> str:
        """The check sum of everything that the frames depend on."""
        collator, frontend = self.collator, self.collator.frontend
        # Any normalization maps each bin on its own: what it does to some values is what it is.
        probe = np.linspace(-25.0, 25.0, 11, dtype=np.float32)[:, None].repeat(frontend.features.bins, 1)
        settings = {
            "encoder": [self.encoder.config.kind, asdict(self.encoder.config)],
            "features": features_to_row(frontend.features),
            "augmentation": None if collator.augmentation is None else asdict(collator.augmentation),
            "more_time_masks": collator.more_time_masks,
            "empty_share": collator.empty_share,
            "seed": collator.seed,
            "chunks": [None if scheme is None else asdict(scheme) for scheme in self.chunks],
            "lengths": [self.min_s, self.max_s],
            "corpora": [[features_to_row(c.feature_config), c.variation] for c in self.corpora],
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        digest.update(frontend.normalization(probe).tobytes())
        for noise in collator.noises:
            digest.update(np.ascontiguousarray(noise).tobytes())
        for corpus in self.corpora:
            rows = [(one.id, one.frames, one.phonemes) for one in corpus.utterances]
            digest.update(json.dumps(rows).encode())
        for name, value in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:_KEY_DIGITS]

    def shards(self) -> list[list[_Heard]]:
        """What is heard, in the order of the shards."""
        return [
            [_Heard(number, utterance, view) for utterance in usable[start : start + _SHARD]]
            for view in range(len(self.chunks))
            for number, corpus in enumerate(self.corpora)
            for usable in [self._usable(corpus)]
            for start in range(0, len(usable), _SHARD)
        ]

    def _usable(self, corpus: Corpus) -> list[CorpusUtterance]:
        hz = corpus.feature_config.hz
        return [one for one in corpus.utterances if self.min_s * hz <= one.frames <= self.max_s * hz]


def build_frames(
    folder: Path,
    source: FrameSource,
    device: torch.device,
    batch_seconds: float = 120.0,
    progress: ProgressReporter = no_progress,
) -> "FrameStore":
    """The store of ``source`` in ``folder``, computed on ``device`` unless it is there already.

    Stores of another key are taken away first: they would fill the disk. Shards that are damaged or missing
    are computed anew. Raises ``InputError`` if the frames
    cannot be written; the shards that are whole stay.
    """
    own = folder / source.key
    drop_frames(folder, but=own)
    if (own / _DONE).exists():
        # What is damaged is computed anew.
        with suppress(InputError):
            return FrameStore(own, source.corpora)
    dim = source.encoder.config.frame_dim
    source.encoder.to(device)
    shards = source.shards()
    for number, shard in enumerate(progress(shards, "frames of the encoder", len(shards))):
        if not _is_whole(own, number, dim):
            _write_shard(own, number, shard, source, device, batch_seconds)
    row = {"dim": dim, "views": len(source.chunks), "shards": len(shards)}
    write_atomic(own / _DONE, json.dumps(row) + "\n")
    return FrameStore(own, source.corpora)


def _is_whole(own: Path, number: int, dim: int) -> bool:
    """Whether a shard is there, with as many frames as its index says."""
    try:
        rows = [parse_json(line) for line in read_text(own / _index(number)).splitlines()]
        return (own / _frames(number)).stat().st_size == 2 * dim * sum(int(row["frames"]) for row in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def drop_frames(folder: Path, but: Path | None = None) -> None:
    """Take away the stores in ``folder``, ``but`` one; nothing else that lies there."""
    if folder.is_dir():
        for other in folder.iterdir():
            if other != but and _KEY.fullmatch(other.name):
                shutil.rmtree(other, ignore_errors=True)


def _write_shard(
    own: Path,
    number: int,
    shard: Sequence[_Heard],
    source: FrameSource,
    device: torch.device,
    batch_seconds: float,
) -> None:
    rows = []
    with atomic_file(own / _frames(number)) as file:
        for one, frames, empty in _encoded(shard, source, device, batch_seconds):
            file.write(np.clip(frames, -_MOST, _MOST).astype(np.float16).tobytes())
            row = {"corpus": one.corpus, "row": one.utterance.row, "view": one.view}
            rows.append({**row, "frames": len(frames), "empty": empty})
    # The index second: where it is, the frames are.
    write_json_lines(own / _index(number), rows)


@torch.no_grad()
def _encoded(
    shard: Sequence[_Heard], source: FrameSource, device: torch.device, batch_seconds: float
) -> Iterator[tuple[_Heard, NDArray[np.float32], bool]]:
    """Each of ``shard`` that can be read, its frames (T', D), and whether noise took its place."""
    source.encoder.eval()
    hz = source.collator.frontend.features.hz
    lengths = [one.utterance.frames for one in shard]
    for some in pack(shard, lengths, batch_seconds * hz, default_rng(0)):
        heard: list[tuple[_Heard, SpeechBatch]] = []
        for one in some:
            try:
                drawn = SampledUtterance(source.corpora[one.corpus], one.utterance, one.view)
                heard.append((one, source.collator([drawn])))
            except InputError:
                # Noted by the collator.
                continue
        if not heard:
            continue
        features = torch.nn.utils.rnn.pad_sequence([batch.features[0, 0] for _, batch in heard], True)
        counts = torch.cat([batch.lengths for _, batch in heard])
        scheme = source.chunks[some[0].view]
        frames, frame_counts = source.encoder(features.to(device), counts.to(device), scheme)
        for (one, batch), row, count in zip(heard, frames.float().cpu(), frame_counts.tolist(), strict=True):
            yield one, row[:count].numpy(), bool(one.utterance.phonemes) and not len(batch.targets)


class FrameStore:
    """A store opened for reading; the frames stay on disk and are mapped into memory.

    Raises ``InputError`` if the store is not whole.
    """

    def __init__(self, folder: Path, corpora: Sequence[Corpus]) -> None:
        self._folder, self._corpora = folder, corpora
        try:
            row = parse_json(read_text(folder / _DONE, "store of frames"))
            self.dim, self.views, shards = int(row["dim"]), int(row["views"]), int(row["shards"])
        except InputError:
            raise
        except (ValueError, KeyError, TypeError):
            raise self._damaged() from None
        # Of each utterance of a corpus in each view: its shard, its first frame there, how many; -1 if none.
        self._places = [np.full((self.views, len(c.utterances), 3), -1, np.int64) for c in corpora]
        self._empty = [np.zeros((self.views, len(c.utterances)), bool) for c in corpora]
        for number in range(shards):
            self._read_index(number)

    def _read_index(self, number: int) -> None:
        start = 0
        try:
            for line in read_text(self._folder / _index(number)).splitlines():
                row = parse_json(line)
                place = (int(row["view"]), int(row["row"]))
                self._places[row["corpus"]][place] = (number, start, int(row["frames"]))
                self._empty[row["corpus"]][place] = bool(row["empty"])
                start += int(row["frames"])
            size = (self._folder / _frames(number)).stat().st_size
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise self._damaged(reason(error)) from None
        if size != start * self.dim * 2:
            raise self._damaged(f"{_frames(number)} has {size} bytes")

    def _damaged(self, why: str = f"{_DONE} cannot be read") -> InputError:
        return InputError(f"{self._folder}: the stored frames are damaged ({why}); delete the folder")

    def frames(self, drawn: SampledUtterance) -> tuple[NDArray[np.float16], bool] | None:
        """The frames (T', D) of an utterance, in the view whose turn it is, and whether noise took the
        utterance's place; None if it could not be read.
        """
        corpus = next(i for i, known in enumerate(self._corpora) if known is drawn.corpus)
        view = drawn.repetition % self.views
        shard, start, count = self._places[corpus][view, drawn.utterance.row]
        if shard < 0:
            return None
        return self._shard(int(shard))[start : start + count], bool(
            self._empty[corpus][view, drawn.utterance.row]
        )

    def _shard(self, number: int) -> NDArray[np.float16]:
        if number not in self._mapped:
            path = self._folder / _frames(number)
            empty = not path.stat().st_size
            mapped = np.zeros(0, np.float16) if empty else np.memmap(path, np.float16, "r")
            self._mapped[number] = mapped.reshape(-1, self.dim)
        return self._mapped[number]

    @cached_property
    def _mapped(self) -> dict[int, NDArray[np.float16]]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        # A mapped file is opened anew by the process that it is sent to, not sent.
        return {name: value for name, value in self.__dict__.items() if name != "_mapped"}


@dataclass(frozen=True, eq=False)
class FrameCollator:
    """Utterances of a store to a ``FrameBatch``, padded; ``text`` is applied to every text."""

    store: FrameStore
    text: Callable[[str], str] = str

    def __call__(self, batch: Sequence[SampledUtterance]) -> FrameBatch:
        """Raises ``InputError`` if no utterance of the batch could be read."""
        found = [(drawn.utterance, kept) for drawn in batch if (kept := self.store.frames(drawn)) is not None]
        if not found:
            raise InputError(f"no utterance of a whole batch can be read, among them {batch[0].utterance.id}")
        rows = [torch.from_numpy(frames.astype(np.float32)) for _, (frames, _) in found]
        phonemes = [() if empty else utterance.phonemes for utterance, (_, empty) in found]
        return FrameBatch(
            frames=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
            lengths=torch.tensor([len(row) for row in rows]),
            targets=torch.tensor([phoneme for row in phonemes for phoneme in row], dtype=torch.long),
            target_lengths=torch.tensor([len(row) for row in phonemes]),
            texts=tuple("" if empty else self.text(utterance.text) for utterance, (_, empty) in found),
            ids=tuple(utterance.id for utterance, _ in found),
        )


def _frames(number: int) -> str:
    return f"{number:05d}.f16"


def _index(number: int) -> str:
    return f"{number:05d}.jsonl"
