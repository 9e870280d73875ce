"""A feature store: the features of a corpus, computed once and read at random.

A folder with ``features.f16`` (frames, bins; half precision, before normalization), ``features.json`` (their
kind) and ``index.jsonl`` (one utterance a line, with its first frame and their number); ``made-of.txt`` says
of what. Training on two cores cannot decode and transform its audio at every epoch and still keep both cores
for the network.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from nim4asr.acoustics.frontend import FeatureConfig, features_from_row, features_of, features_to_row
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.audio.samples import Floats
from nim4asr.data.augmentation import AugmentationConfig, add_noise, limit_band, vary
from nim4asr.data.corpus import CorpusUtterance, LabeledUtterance
from nim4asr.errors import InputError
from nim4asr.files import (
    atomic_file,
    parse_json,
    read_text,
    reason,
    write_atomic,
    write_json_lines,
    writing,
)
from nim4asr.processes import parallel_map
from nim4asr.progress import ProgressReporter, no_progress

Item = TypeVar("Item")

_FEATURES = "features.f16"
_KIND = "features.json"
_INDEX = "index.jsonl"
_MADE_OF = "made-of.txt"
LEFT_OUT = "left-out.jsonl"


@dataclass(frozen=True)
class LeftOut:
    """An utterance that a store does not take, and why."""

    id: str
    reason: str


class FeatureStore:
    """A store opened for reading; the features stay on disk and are mapped into memory.

    Raises ``InputError`` if there is none, or if it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not (folder / _INDEX).exists():
            raise InputError(f"{folder}: there is no feature store here")
        self.feature_config = _kind_of(folder)
        try:
            # Not splitlines: a text may hold U+2028, which JSON allows in a line.
            rows = [parse_json(line) for line in read_text(folder / _INDEX).split("\n") if line]
            self._starts = [row.pop("start") for row in rows]
            self.utterances = [
                CorpusUtterance(**{**fields, "phonemes": tuple(fields["phonemes"])}, row=row)
                for row, fields in enumerate(rows)
            ]
            counts = [utterance.frames for utterance in self.utterances]
            size = (folder / _FEATURES).stat().st_size
            whole = self._starts == list(accumulate(counts[:-1], initial=0))[: len(counts)]
            whole &= size == 2 * self.feature_config.bins * sum(counts)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder}: the feature store is damaged ({reason(error)}); delete it") from None
        if not whole:
            raise InputError(f"{folder}: the feature store is damaged (it is cut short); delete it")

    @cached_property
    def _frames(self) -> NDArray[np.float16]:
        return np.memmap(self._folder / _FEATURES, np.float16, "r").reshape(-1, self.feature_config.bins)

    def features(self, utterance: CorpusUtterance) -> NDArray[np.float16]:
        """Its features (T, bins), before normalization."""
        start = self._starts[utterance.row]
        return self._frames[start : start + utterance.frames]

    def augmented(
        self,
        utterance: CorpusUtterance,
        config: AugmentationConfig,
        noises: Sequence[Floats],
        random: Generator,
    ) -> Floats:
        """Its features (T, bins) varied as features (``nim4asr.data.augmentation``)."""
        features = vary(self.features(utterance).astype(np.float32), config, random)
        if config.noise is not None and len(noises) and random.random() < config.noise.share:
            features = add_noise(features, noises, config.noise, self.feature_config, random)
        if config.narrowband_share and random.random() < config.narrowband_share:
            features = limit_band(features, self.feature_config, random)
        return features

    @property
    def variation(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def cmvn(self, most_frames: int = 2_000_000) -> Cmvn:
        """Global statistics, over evenly spaced frames if there are more than ``most_frames``."""
        frames = self._frames[:: max(1, len(self._frames) // most_frames)].astype(np.float32)
        total = frames.sum(axis=0, dtype=np.float64)
        squares = np.square(frames, dtype=np.float64).sum(axis=0)
        return Cmvn.from_sums(len(frames), total, squares)


def build_store(
    folder: Path,
    items: Iterable[Item],
    listen: Callable[[Item], tuple[LabeledUtterance, Floats] | LeftOut],
    features: FeatureConfig,
    workers: int | None = None,
    key: Callable[[Item], str] = repr,
    what: str = "utterances",
    total: int | None = None,
    progress: ProgressReporter = no_progress,
) -> int:
    """Write a store of the ``features`` of ``items``; returns how many utterances it holds.

    ``listen`` runs in worker processes: an item to its labels and samples (N,), or the reason to leave it
    out, which is listed in ``left-out.jsonl``. The store appears whole or not at all. An existing store is
    left as it is if it was made of the same, by the ``key`` of each item, and in the same way: the same
    features, and the same ``listen`` by its name or ``repr``. Else it is made again.
    """
    items = list(items)
    # The ``repr`` of a function is another one in every process.
    how = [repr(features), getattr(listen, "__qualname__", None) or repr(listen)]
    made_of = sha256("\n".join([*how, *map(key, items)]).encode("utf-8", "surrogatepass")).hexdigest()
    if (folder / _INDEX).exists() and _is_of(folder, made_of, features, len(items)):
        # One that is damaged is made again.
        with suppress(InputError):
            return len(FeatureStore(folder).utterances)
    # Features and index belong together: where there is no index, there is no store.
    with writing(folder):
        (folder / _INDEX).unlink(missing_ok=True)
    kept: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    start = 0
    results = parallel_map(_Listener(listen, features), items, workers, chunk=32)
    with atomic_file(folder / _FEATURES) as file:
        for result in progress(results, what, total):
            if isinstance(result, LeftOut):
                left_out.append(result)
                continue
            labeled, frames = result
            file.write(frames.tobytes())
            kept.append({**asdict(labeled), "start": start, "frames": len(frames)})
            start += len(frames)
    write_atomic(folder / _KIND, json.dumps(features_to_row(features)) + "\n")
    write_json_lines(folder / LEFT_OUT, map(asdict, left_out))
    write_atomic(folder / _MADE_OF, made_of + "\n")
    write_json_lines(folder / _INDEX, kept)
    return len(kept)


def _is_of(folder: Path, made_of: str, features: FeatureConfig, count: int) -> bool:
    """Whether the store in ``folder`` was made of these ``count`` items."""
    try:
        return (folder / _MADE_OF).read_text(encoding="utf-8").strip() == made_of
    except OSError:
        # Of a store that was made before this was written down, their number and kind are all that is known.
        found = [folder / name for name in (_INDEX, LEFT_OUT) if (folder / name).exists()]
        if sum(path.read_bytes().count(b"\n") for path in found) != count:
            return False
    try:
        return _kind_of(folder) == features
    except InputError:
        return False


class _Listener(Generic[Item]):
    """``listen`` followed by the features, as one call that a process pool can send."""

    def __init__(
        self, listen: Callable[[Item], tuple[LabeledUtterance, Floats] | LeftOut], features: FeatureConfig
    ) -> None:
        self._listen, self._features = listen, features

    def __call__(self, item: Item) -> tuple[LabeledUtterance, NDArray[np.float16]] | LeftOut:
        heard = self._listen(item)
        if isinstance(heard, LeftOut):
            return heard
        features = features_of(heard[1], self._features)
        if not len(features):
            return LeftOut(heard[0].id, "too short for a frame")
        return heard[0], features.astype(np.float16)


def _kind_of(folder: Path) -> FeatureConfig:
    """The kind of a store's features. Raises ``InputError`` if it says none."""
    try:
        row: FeatureConfig = features_from_row(json.loads((folder / _KIND).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        raise InputError(
            f"{folder}: the feature store does not say what its features are; delete it"
        ) from None
    return row
