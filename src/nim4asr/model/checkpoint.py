"""Checkpoints: a folder with config.json, safetensors, tokenizer and cmvn.json. No pickle anywhere.

Weights over 4 GB are sharded as Hugging Face shards them: numbered files and an index. A folder is
written under another name beside its place and renamed when whole.
"""

import json
import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from nim4asr.audio.features import MEL_BINS, Cmvn
from nim4asr.errors import InputError
from nim4asr.files import atomic_folder, parse_json, read_text, reason, write_atomic
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONFIG = "config.json"
CMVN = "cmvn.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SUMS = "checksums.json"
LARGEST_SHARD = 4 * 1000**3


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network with what it needs around it. ``tokenizer`` is None where there is no language model."""

    network: Nim4
    cmvn: Cmvn
    tokenizer: "PreTrainedTokenizerBase | None" = None

    @property
    def config(self) -> Nim4Config:
        return self.network.config


def save(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: torch.dtype | None = None,
    largest_shard: int = LARGEST_SHARD,
) -> None:
    """Write ``checkpoint`` as ``folder``, replacing a checkpoint there when the new one is whole.

    ``dtype`` is that of the stored weights, by default as they are. Raises ``InputError`` if ``folder``
    holds something that is not a checkpoint.
    """
    from huggingface_hub import save_torch_state_dict
    from safetensors import SafetensorError

    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise InputError(f"{folder}: the folder holds other files; choose an empty or new one")
    state = {
        name: value.to(dtype) if dtype and value.is_floating_point() else value
        for name, value in checkpoint.network.state_dict().items()
    }
    with atomic_folder(folder) as new:
        try:
            save_torch_state_dict(state, new, max_shard_size=largest_shard)
        except SafetensorError as error:
            # Its kind of a full disk.
            raise OSError(str(error)) from None
        (new / CONFIG).write_text(checkpoint.config.to_json(), encoding="utf-8")
        for weights in new.glob("*.safetensors"):
            # Written for the owner alone; as readable as any other file.
            weights.chmod((new / CONFIG).stat().st_mode)
        save_cmvn(checkpoint.cmvn, new / CMVN)
        sums = {one.name: _check_sum(one) for one in sorted(new.glob("*.safetensors"))}
        (new / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
        if checkpoint.tokenizer is not None:
            checkpoint.tokenizer.save_pretrained(new)


def load(
    place: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    """The checkpoint in the folder ``place``, or of the hub's repository ``org/name``.

    The network comes in evaluation mode, on ``device``, in ``dtype``. Raises ``InputError`` if there is none,
    or if its weights are missing, damaged or of another shape than its configuration says.
    """
    folder = locate(place)
    config = Nim4Config.from_json(read_text(folder / CONFIG), str(folder / CONFIG))
    try:
        with torch.device("meta"):
            network = Nim4(config)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from None
    _load_weights(network, folder, device, dtype)
    tokenizer = None
    if config.llm is not None:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except Exception as error:  # Its parsers raise bare exceptions.
            raise InputError(f"{folder}: the tokenizer cannot be read ({reason(error)})") from None
    return Checkpoint(network.eval(), load_cmvn(folder / CMVN), tokenizer)


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


def _weight_files(folder: Path) -> list[Path]:
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


def _load_weights(network: Nim4, folder: Path, device: str | torch.device, dtype: torch.dtype) -> None:
    from safetensors import SafetensorError, safe_open

    expected = network.state_dict()
    # Tied weights are stored once: every name of one tensor is filled from whichever is there.
    tied = _tied_names(network)
    loaded: dict[str, torch.Tensor] = {}
    files = _weight_files(folder)
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    value = file.get_tensor(name)
                    loaded[name] = value.to(device, dtype) if value.is_floating_point() else value
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    for names in tied:
        present = next((loaded[name] for name in names if name in loaded), None)
        if present is not None:
            loaded.update(dict.fromkeys(names, present))
    missing = sorted(expected.keys() - loaded.keys())
    unknown = sorted(loaded.keys() - expected.keys())
    if missing or unknown:
        what = f"lack {missing[0]!r}" if missing else f"hold {unknown[0]!r}, which it has not"
        count = len(missing) + len(unknown)
        raise InputError(
            f"{folder}: weights and {CONFIG} do not belong together; the weights {what} ({count} such names)"
        )
    for name, value in expected.items():
        if loaded[name].shape != value.shape:
            raise InputError(
                f"{folder}: weights and {CONFIG} do not belong together; {name!r} has the shape "
                f"{tuple(loaded[name].shape)}, the configuration asks for {tuple(value.shape)}"
            )
        if not loaded[name].is_floating_point() or not bool(torch.isfinite(loaded[name].sum())):
            raise InputError(f"{folder}: the weights {name!r} are no numbers; the file is damaged")
        if loaded[name].ndim > 1 and not bool(loaded[name].any()):
            raise InputError(f"{folder}: the weights {name!r} are all zero; the file is damaged")
    sums = _saved_sums(folder)
    for path in files:
        if path.name in sums and _check_sum(path) != sums[path.name]:
            raise InputError(f"{path}: the weights are damaged; they are not what was saved")
    network.load_state_dict(loaded, assign=True)
    if network.llm is not None:
        network.llm.tie_weights()
        _fill_buffers(network.llm, device)


def _check_sum(path: Path) -> int:
    """CRC-32 of a file."""
    total = 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                total = zlib.crc32(block, total)
    except OSError as error:
        raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    return total


def _saved_sums(folder: Path) -> dict[str, int]:
    """The check sums of a model's files; none in a folder that another program has written."""
    path = folder / SUMS
    if not path.exists():
        return {}
    try:
        return {str(name): int(value) for name, value in parse_json(read_text(path)).items()}
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path}: these are no check sums; fetch the model again") from None


def _tied_names(network: nn.Module) -> list[list[str]]:
    names: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [group for group in names.values() if len(group) > 1]


def _fill_buffers(llm: nn.Module, device: str | torch.device) -> None:
    """Compute the buffers that no checkpoint stores, such as the rates of rotary positions."""
    for module in llm.modules():
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            fresh = type(module)(llm.config)
            for name, buffer in fresh.named_buffers(recurse=False):
                module.register_buffer(name, buffer.to(device), persistent=False)
                if hasattr(module, f"original_{name}"):
                    setattr(module, f"original_{name}", buffer.to(device))


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
        raise InputError(f"{path}: this is no normalisation of features") from None
    if mean.shape != (MEL_BINS,) or scale.shape != (MEL_BINS,):
        raise InputError(f"{path}: expected {MEL_BINS} means and scales, got {mean.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{path}: means and scales must be numbers, and scales above 0")
    return Cmvn(mean, scale)
