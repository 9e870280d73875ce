"""Checkpoints: a folder with config.json, safetensors, tokenizer and cmvn.json. No pickle anywhere.

Weights over 4 GB are sharded as Hugging Face shards them: numbered files and an index. A folder is
written under another name beside its place and renamed when whole.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from nim4asr.audio.features import MEL_BINS, Cmvn
from nim4asr.errors import InputError
from nim4asr.files import atomic_folder, write_atomic
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONFIG = "config.json"
CMVN = "cmvn.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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

    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise InputError(f"{folder}: the folder holds other files; choose an empty or new one")
    state = {
        name: value.to(dtype) if dtype and value.is_floating_point() else value
        for name, value in checkpoint.network.state_dict().items()
    }
    with atomic_folder(folder) as new:
        save_torch_state_dict(state, new, max_shard_size=largest_shard)
        (new / CONFIG).write_text(checkpoint.config.to_json(), encoding="utf-8")
        for weights in new.glob("*.safetensors"):
            # Written for the owner alone; as readable as any other file.
            weights.chmod((new / CONFIG).stat().st_mode)
        save_cmvn(checkpoint.cmvn, new / CMVN)
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
    config = Nim4Config.from_json(_read(folder / CONFIG), str(folder / CONFIG))
    with torch.device("meta"):
        network = Nim4(config)
    _load_weights(network, folder, device, dtype)
    tokenizer = None
    if config.llm is not None:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: the tokenizer cannot be read ({_line(error)})") from None
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
            f"{name}: neither a folder nor a model that the hub gives ({_line(error)})"
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the file cannot be read ({_line(error)})") from None


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    if (folder / INDEX).exists():
        try:
            names = set(json.loads(_read(folder / INDEX))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{folder / INDEX}: this is no index of weights") from None
        return [folder / name for name in sorted(names)]
    raise InputError(f"{folder}: the model has no weights; {WEIGHTS} is missing")


def _load_weights(network: Nim4, folder: Path, device: str | torch.device, dtype: torch.dtype) -> None:
    from safetensors import SafetensorError, safe_open

    expected = network.state_dict()
    # Tied weights are stored once: every name of one tensor is filled from whichever is there.
    tied = _tied_names(network)
    loaded: dict[str, torch.Tensor] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    value = file.get_tensor(name)
                    loaded[name] = value.to(device, dtype) if value.is_floating_point() else value
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: the weights cannot be read ({_line(error)})") from None
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
    network.load_state_dict(loaded, assign=True)
    if network.llm is not None:
        network.llm.tie_weights()
        _fill_buffers(network.llm, device)


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
        row = json.loads(_read(path))
        mean, scale = (np.asarray(row[key], np.float32) for key in ("mean", "scale"))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: this is no normalisation of features") from None
    if mean.shape != (MEL_BINS,) or scale.shape != (MEL_BINS,):
        raise InputError(f"{path}: expected {MEL_BINS} means and scales, got {mean.shape}")
    return Cmvn(mean, scale)
