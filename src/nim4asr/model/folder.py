"""A model's folder: config.json, weights in safetensors, tokenizer, cmvn.json, checksums.json. No pickle
anywhere.

Weights over 4 GB are sharded as Hugging Face shards them: numbered files and an index. What is read here
needs no tensors; the weights are for the network that runs them (``nim4asr.model.checkpoint``,
``nim4asr.runtime``).
"""

import json
import zlib
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np

from nim4asr.acoustics.normalization import Cmvn, Normalization
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason, write_atomic
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.tokenizer import Tokenizer

BUNDLED = "nano"
CONFIG = "config.json"
CMVN = "cmvn.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SUMS = "checksums.json"
_CARD = "README.md"


def bundled() -> Path:
    """The folder of nano, the model that comes with the library."""
    return Path(str(files("nim4asr").joinpath("bundled/nano")))


def fetched(place: str | Path, patterns: Sequence[str] | None = None) -> Path:
    """The folder ``place``, that of the bundled model by its name ``nano``, or that of the hub's repository
    ``org/name``; of the latter only the files that match one of ``patterns``.

    Raises ``InputError`` if there is neither.
    """
    folder, name = Path(place), str(place)
    if folder.is_dir():
        return folder
    if name == BUNDLED:
        return bundled()
    check_place(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=None if patterns is None else list(patterns)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"{name}: neither a folder nor a model that the hub gives ({reason(error)})"
        ) from None


def check_place(place: str) -> None:
    """Raises ``InputError`` if ``place`` is neither a folder nor ``nano`` nor looks like the hub's
    ``org/name``; nothing is asked of the hub.
    """
    known = place == BUNDLED or Path(place).is_dir()
    if not known and (place.count("/") != 1 or place.startswith((".", "/", "~"))):
        raise InputError(f"{place}: there is no such model folder")


def license_of(place: str | Path) -> str | None:
    """The license that a model's README.md names in its front matter, as model cards do; None if it names
    none. ``place`` is a folder, or the hub's repository ``org/name``.
    """
    from huggingface_hub import metadata_load

    try:
        row = metadata_load(fetched(place, (_CARD,)) / _CARD) or {}
    except Exception:  # Whatever is wrong with a card, it names no license.
        return None
    license = row.get("license")
    # What is none of the hub's own licenses is called other, and its name stands beside it.
    named = (row.get("license_name") or license) if license == "other" else license
    names = [one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)]
    return ", ".join(one for one in names if one.strip() and one.isprintable()) or None


def locate(place: str | Path) -> Path:
    """The local folder of a checkpoint, fetched from the hub if ``place`` is an ``org/name`` there."""
    folder = fetched(place)
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder}: no model here; the folder has no {CONFIG}")
    return folder


class ModelFolder:
    """The files of one model, opened once: each is read at most once, when it is asked for.

    Every member raises ``InputError`` for a file that is missing, damaged or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, place: "str | Path | ModelFolder") -> "ModelFolder":
        """The model in a folder, or of the hub's repository ``org/name``; one that is open already."""
        return place if isinstance(place, ModelFolder) else cls(locate(place))

    @cached_property
    def config(self) -> Nim4Config:
        """The configuration of its network."""
        return Nim4Config.from_json(read_text(self.path / CONFIG), str(self.path / CONFIG))

    @cached_property
    def normalization(self) -> Normalization:
        """The normalization of its features: their own, or the one that was measured."""
        fixed = self.config.features.normalization
        return load_cmvn(self.path / CMVN, self.config.features.bins) if fixed is None else fixed

    @property
    def tokenizer(self) -> Tokenizer:
        """Its language model's tokenizer."""
        return Tokenizer.load(self.path)

    @cached_property
    def weight_files(self) -> list[Path]:
        """The files with its weights."""
        if (self.path / WEIGHTS).exists():
            return [self.path / WEIGHTS]
        index = self.path / INDEX
        if not index.exists():
            raise InputError(f"{self.path}: the model has no weights; {WEIGHTS} is missing")
        try:
            names = sorted(set(parse_json(read_text(index))["weight_map"].values()))
            if not all(name == Path(name).name for name in names):
                raise ValueError("the weights of a model lie in its own folder")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{index}: this is no index of weights") from None
        return [self.path / name for name in names]

    @cached_property
    def sums(self) -> dict[str, int]:
        """The check sums of its files; none in a folder that another program has written."""
        path = self.path / SUMS
        if not path.exists():
            return {}
        try:
            return {str(name): int(value) for name, value in parse_json(read_text(path)).items()}
        except (ValueError, TypeError, AttributeError):
            raise InputError(f"{path}: these are no check sums; fetch the model again") from None

    def is_as_saved(self, path: Path) -> bool:
        """Whether one of its files is what its check sum says; so is one that has none."""
        return path.name not in self.sums or check_sum(path) == self.sums[path.name]

    def check_weights(self) -> None:
        """Raises ``InputError`` if its weights are not those that were saved there."""
        for path in self.weight_files:
            if not self.is_as_saved(path):
                raise InputError(f"{path}: the weights are damaged; they are not what was saved")


def check_sum(path: Path) -> int:
    """CRC-32 of a file. Raises ``InputError`` if it cannot be read."""
    total = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                total = zlib.crc32(block, total)
    except OSError as error:
        raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    return total


def save_cmvn(cmvn: Cmvn, path: Path) -> None:
    """Write the statistics as JSON, whole or not at all."""
    row = {"mean": cmvn.mean.tolist(), "scale": cmvn.scale.tolist()}
    write_atomic(path, json.dumps(row) + "\n")


def load_cmvn(path: Path, bins: int) -> Cmvn:
    """The statistics of ``bins`` bins in ``path``. Raises ``InputError`` if it holds none."""
    try:
        row = parse_json(read_text(path))
        with np.errstate(over="ignore"):
            mean, scale = (np.asarray(row[key], np.float32) for key in ("mean", "scale"))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError):
        raise InputError(f"{path}: this is no normalization of features") from None
    if mean.shape != (bins,) or scale.shape != (bins,):
        raise InputError(f"{path}: expected {bins} means and scales, got {mean.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{path}: means and scales must be numbers, and scales above 0")
    return Cmvn(mean, scale)
