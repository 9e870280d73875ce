"""A model's folder: config.json, weights in safetensors, tokenizer, cmvn.json, checksums.json. No pickle
anywhere.

Weights over 4 GB are sharded as Hugging Face shards them: numbered files and an index. What is read here
needs no tensors; the weights are for the network that runs them (``nim4asr.model.checkpoint``,
``nim4asr.runtime``).
"""

import json
import zlib
from importlib.resources import files
from pathlib import Path

import numpy as np

from nim4asr.audio.features import MEL_BINS, Cmvn
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason, write_atomic
from nim4asr.model.configuration import Nim4Config

CONFIG = "config.json"
CMVN = "cmvn.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SUMS = "checksums.json"


def bundled() -> Path:
    """The folder of nano, the model that comes with the library."""
    return Path(str(files("nim4asr").joinpath("bundled/nano")))


def locate(place: str | Path) -> Path:
    """The local folder of a checkpoint, fetched from the hub if ``place`` is an ``org/name`` there."""
    folder = Path(place)
    if folder.is_dir():
        if not (folder / CONFIG).exists():
            raise InputError(f"{folder}: no model here; the folder has no {CONFIG}")
        return folder
    name = str(place)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"{name}: there is no such model folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"{name}: neither a folder nor a model that the hub gives ({reason(error)})"
        ) from None


def read_config(folder: Path) -> Nim4Config:
    """The configuration of the model in ``folder``. Raises ``InputError`` if it cannot be read."""
    return Nim4Config.from_json(read_text(folder / CONFIG), str(folder / CONFIG))


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights of the model in ``folder``. Raises ``InputError`` if there are none."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        try:
            names = sorted(set(parse_json(read_text(folder / INDEX))["weight_map"].values()))
            if not all(name == Path(name).name for name in names):
                raise ValueError("the weights of a model lie in its own folder")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{folder / INDEX}: this is no index of weights") from None
        return [folder / name for name in names]
    raise InputError(f"{folder}: the model has no weights; {WEIGHTS} is missing")


def check_sum(path: Path) -> int:
    """CRC-32 of a file."""
    total = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                total = zlib.crc32(block, total)
    except OSError as error:
        raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    return total


def saved_sums(folder: Path) -> dict[str, int]:
    """The check sums of a model's files; none in a folder that another program has written."""
    path = folder / SUMS
    if not path.exists():
        return {}
    try:
        return {str(name): int(value) for name, value in parse_json(read_text(path)).items()}
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: these are no check sums; fetch the model again") from None


def is_as_saved(path: Path) -> bool:
    """Whether a file of a model is what its check sum says; so is one that has none."""
    sums = saved_sums(path.parent)
    return path.name not in sums or check_sum(path) == sums[path.name]


def check_weights(folder: Path) -> None:
    """Raises ``InputError`` if the weights in ``folder`` are not those that were saved there."""
    for path in weight_files(folder):
        if not is_as_saved(path):
            raise InputError(f"{path}: the weights are damaged; they are not what was saved")


def save_cmvn(cmvn: Cmvn, path: Path) -> None:
    """Write the statistics as JSON, whole or not at all."""
    row = {"mean": cmvn.mean.tolist(), "scale": cmvn.scale.tolist()}
    write_atomic(path, json.dumps(row) + "\n")


def load_cmvn(path: Path) -> Cmvn:
    """The statistics in ``path``. Raises ``InputError`` if it holds none."""
    try:
        row = parse_json(read_text(path))
        with np.errstate(over="ignore"):
            mean, scale = (np.asarray(row[key], np.float32) for key in ("mean", "scale"))
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError):
        raise InputError(f"{path}: this is no normalization of features") from None
    if mean.shape != (MEL_BINS,) or scale.shape != (MEL_BINS,):
        raise InputError(f"{path}: expected {MEL_BINS} means and scales, got {mean.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{path}: means and scales must be numbers, and scales above 0")
    return Cmvn(mean, scale)
