"""Checkpoints: a folder with config.json, safetensors, tokenizer and cmvn.json. No pickle anywhere.

Weights over 4 GB are sharded as Hugging Face shards them: numbered files and an index. A folder is
written under another name beside its place and renamed when whole.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nim4asr.acoustics.frontend import Frontend
from nim4asr.acoustics.normalization import Cmvn, Normalization
from nim4asr.errors import InputError
from nim4asr.files import atomic_folder, reason
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.folder import CMVN, CONFIG, SUMS, ModelFolder, check_sum, save_cmvn
from nim4asr.model.nim4 import Nim4
from nim4asr.model.quantization import SCALE, can_be_quantized, dequantized, is_quantized, is_scale, quantized
from nim4asr.model.tokenizer import Tokenizer

LARGEST_SHARD = 4 * 1000**3


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network with what it needs around it. ``tokenizer`` is None where there is no language model."""

    network: Nim4
    normalization: Normalization
    tokenizer: Tokenizer | None = None

    @property
    def config(self) -> Nim4Config:
        return self.network.config

    @property
    def frontend(self) -> Frontend:
        """What its encoder hears by."""
        return self.config.frontend(self.normalization)


def save(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: torch.dtype | None = None,
    largest_shard: int = LARGEST_SHARD,
) -> None:
    """Write ``checkpoint`` as ``folder``, replacing a checkpoint there when the new one is whole.

    ``dtype`` is that of the stored weights, by default as they are; ``torch.int8`` stores matrices in 8 bits
    by row (``nim4asr.model.quantization``) and the rest as float32. Raises ``InputError`` if ``folder`` holds
    something that is not a checkpoint.
    """
    from huggingface_hub import save_torch_state_dict
    from safetensors import SafetensorError

    folder = folder.absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise InputError(f"{folder}: the folder holds other files; choose an empty or new one")
    state = _stored(checkpoint.network.state_dict(), dtype)
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
        if isinstance(checkpoint.normalization, Cmvn):
            save_cmvn(checkpoint.normalization, new / CMVN)
        sums = {file.name: check_sum(file) for file in sorted(new.glob("*.safetensors"))}
        (new / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
        if checkpoint.tokenizer is not None:
            checkpoint.tokenizer.save(new)


def _stored(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The tensors of ``state`` as they are stored; tied ones stay one tensor, which is stored once."""
    stored: dict[str, Tensor] = {}
    known: dict[int, tuple[Tensor, ...]] = {}
    for name, value in state.items():
        key = value.data_ptr()
        if key not in known or known[key][0].shape != value.shape or not key:
            known[key] = _as_stored(value, dtype)
        stored[name], *scale = known[key]
        if scale:
            stored[name + SCALE] = scale[0]
    return stored


def _as_stored(value: Tensor, dtype: torch.dtype | None) -> tuple[Tensor, ...]:
    if dtype is None or not value.is_floating_point():
        return (value,)
    if dtype != torch.int8:
        return (value.to(dtype),)
    plain = value.detach().float().cpu()
    if not can_be_quantized(tuple(plain.shape)):
        return (plain,)
    whole, scale = quantized(plain.numpy())
    return torch.from_numpy(whole), torch.from_numpy(scale)


def load(
    place: str | Path | ModelFolder, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    """The checkpoint in the folder ``place``, or of the hub's repository ``org/name``.

    The network comes in evaluation mode, on ``device``, in ``dtype``. Raises ``InputError`` if there is none,
    or if its weights are missing, damaged or of another shape than its configuration says.
    """
    folder = ModelFolder.open(place)
    config = folder.config
    try:
        with torch.device("meta"):
            network = Nim4(config)
    except InputError as error:
        raise InputError(f"{folder.path / CONFIG}: {error}") from None
    _load_weights(network, folder, device, dtype)
    tokenizer = None if config.llm is None else folder.tokenizer
    return Checkpoint(network.eval(), folder.normalization, tokenizer)


def stored_dtype(place: str | Path) -> torch.dtype:
    """The type in which the weights of the model in ``place`` are stored; raises ``InputError`` as ``load``
    does.
    """
    from safetensors import SafetensorError, safe_open

    path = ModelFolder.open(place).weight_files[0]
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if any(name.endswith(SCALE) for name in names):
                return torch.int8
            # One tensor is read, not all: the first that holds numbers with fractions.
            tensors = (file.get_tensor(name) for name in names)
            dtype: torch.dtype = next(value.dtype for value in tensors if value.is_floating_point())
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    return dtype


def _load_weights(network: Nim4, folder: ModelFolder, device: str | torch.device, dtype: torch.dtype) -> None:
    from safetensors import SafetensorError, safe_open

    expected = network.state_dict()
    # Tied weights are stored once: every name of one tensor is filled from whichever is there.
    tied = _tied_names(network)
    loaded: dict[str, torch.Tensor] = {}
    for path in folder.weight_files:
        try:
            with safe_open(path, framework="pt") as file:
                loaded |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    loaded = {
        name: value.to(device, dtype) if value.is_floating_point() else value
        for name, value in _dequantized(loaded, folder).items()
    }
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
            f"{folder.path}: weights and {CONFIG} do not belong together; "
            f"the weights {what} ({count} such names)"
        )
    for name, value in expected.items():
        if loaded[name].shape != value.shape:
            raise InputError(
                f"{folder.path}: weights and {CONFIG} do not belong together; {name!r} has the shape "
                f"{tuple(loaded[name].shape)}, the configuration asks for {tuple(value.shape)}"
            )
        if not loaded[name].is_floating_point() or not bool(torch.isfinite(loaded[name].sum())):
            raise InputError(f"{folder.path}: the weights {name!r} are no numbers; the file is damaged")
        if loaded[name].ndim > 1 and not bool(loaded[name].any()):
            raise InputError(f"{folder.path}: the weights {name!r} are all zero; the file is damaged")
    folder.check_weights()
    network.load_state_dict(loaded, assign=True)
    if network.llm is not None:
        network.llm.tie_weights()
        _fill_buffers(network.llm, device)


def _dequantized(loaded: Mapping[str, Tensor], folder: ModelFolder) -> dict[str, Tensor]:
    """The weights with those in 8 bits as float32, without their scales."""
    found = {}
    for name, value in loaded.items():
        if is_quantized(loaded, name):
            try:
                value = torch.from_numpy(dequantized(value.numpy(), loaded[name + SCALE].float().numpy()))
            except ValueError as error:
                raise InputError(f"{folder.path}: the weights {name!r} cannot be read ({error})") from None
        if not is_scale(loaded, name):
            found[name] = value
    return found


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
