"""The encoder of a public Whisper model as a nim4asr checkpoint, from either form that people have of it.

- Hugging Face's: ``config.json`` of the type ``whisper`` and ``model.safetensors``, whole or sharded; a
  folder, or ``org/name`` on the hub.
- CTranslate2's, which faster-whisper keeps: ``model.bin``.

Only the encoder comes over. It has heard windows of 30 s and never a chunk, so that the checkpoint says
``chunks: null`` until it is trained in chunks.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nim4asr.acoustics.whisper import WhisperFeatures
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, reason
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.importers import ctranslate2
from nim4asr.model.importers.base import filled
from nim4asr.model.shapes import WhisperConfig

CONFIG = "config.json"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
# Where the encoder's tensors stand: in a whole Whisper, in one without its output layer, and alone.
_PREFIXES = ("model.encoder.", "encoder.", "")
# CTranslate2's names of a block's parts; it keeps queries, keys and values in one matrix.
_CT2_PARTS = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}


def import_whisper(folder: Path, name: str | None = None, joined: int = 2) -> Checkpoint:
    """The checkpoint of the encoder in a folder of either form; ``joined`` of its frames of 20 ms make one
    frame of the model.

    Raises ``InputError`` if the folder holds no Whisper, or a damaged one.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    if (folder / ctranslate2.FILE).exists():
        encoder, state = _from_ctranslate2(folder / ctranslate2.FILE, joined)
    elif is_whisper(folder):
        encoder, state = _from_transformers(folder, joined)
    else:
        raise InputError(
            f"{folder}: no Whisper model; a folder of one holds {CONFIG} of the type whisper, "
            f"or {ctranslate2.FILE}"
        )
    config = Nim4Config(
        name=name or f"{folder.name} encoder",
        encoder=encoder,
        features=WhisperFeatures(encoder.input_dim),
        chunks=None,
    )
    network = filled(config, {f"encoder.{name}": value for name, value in state.items()}, folder)
    return Checkpoint(network, config.features.normalization or WhisperFeatures().normalization)


def is_whisper(folder: Path) -> bool:
    """Whether the configuration in ``folder`` is a Whisper's, as Hugging Face keeps it."""
    try:
        row = parse_json(read_text(folder / CONFIG))
    except (InputError, ValueError):
        return False
    return isinstance(row, dict) and row.get("model_type") == "whisper"


def _from_transformers(folder: Path, joined: int) -> tuple[WhisperConfig, dict[str, Tensor]]:
    row = parse_json(read_text(folder / CONFIG))
    try:
        config = WhisperConfig(
            model_dim=_whole(row, "d_model"),
            blocks=_whole(row, "encoder_layers"),
            heads=_whole(row, "encoder_attention_heads"),
            feedforward_dim=_whole(row, "encoder_ffn_dim"),
            joined=joined,
            input_dim=_whole({"num_mel_bins": 80, **row}, "num_mel_bins"),
        )
    except ValueError as error:
        raise InputError(f"{folder / CONFIG}: no configuration of a Whisper ({reason(error)})") from None
    tensors = _encoder_tensors(folder)
    if any(name.startswith(f"layers.{config.blocks}.") for name in tensors):
        raise InputError(f"{folder}: {CONFIG} says {config.blocks} blocks, and the weights have more")
    return config, tensors


def _whole(row: Mapping[str, Any], name: str) -> int:
    """A whole number of a configuration. Raises ``ValueError`` for anything else."""
    value = row.get(name)
    if type(value) is not int:
        raise ValueError(f"{name} is missing" if value is None else f"{name} is {value!r}, no whole number")
    return value


def _encoder_tensors(folder: Path) -> dict[str, Tensor]:
    """The encoder's tensors by their names inside it, as float32; positions are computed, not loaded."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    inner = _inside(name)
                    if inner is not None:
                        value = file.get_tensor(name)
                        # Whatever is no weight is told as damaged.
                        found[inner] = value.float() if value.is_floating_point() else value
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    return found


def _inside(name: str) -> str | None:
    """The name of a tensor inside the encoder; None for others."""
    for prefix in _PREFIXES:
        inner = name.removeprefix(prefix)
        if name.startswith(prefix) and inner.startswith(("conv1.", "conv2.", "layers.", "layer_norm.")):
            return inner
    return None


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).exists():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).exists():
        raise InputError(f"{folder}: the model has no weights; {_WEIGHTS} is missing")
    try:
        places: Mapping[str, str] = parse_json(read_text(folder / _INDEX))["weight_map"]
        names = sorted({file for name, file in places.items() if _inside(name) is not None})
        if not all(name == Path(name).name for name in names):
            raise ValueError("the weights of a model lie in its own folder")
    except (ValueError, KeyError, TypeError, AttributeError, json.JSONDecodeError):
        raise InputError(f"{folder / _INDEX}: this is no index of weights") from None
    return [folder / name for name in names]


def _from_ctranslate2(path: Path, joined: int) -> tuple[WhisperConfig, dict[str, Tensor]]:
    variables = ctranslate2.Ct2Variables(path)
    if variables.specification != "WhisperSpec":
        raise InputError(f"{path}: no Whisper, but a model of the kind {variables.specification!r}")

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(variables.floats(f"encoder/{name}"))

    state: dict[str, Tensor] = {}
    for convolution in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            state[f"{convolution}.{kind}"] = tensor(f"{convolution}/{kind}")
    numbers = [re.match(r"encoder/layer_(\d+)/", name) for name in variables.names]
    blocks = 1 + max((int(found[1]) for found in numbers if found), default=-1)
    try:
        for block in range(blocks):
            state |= _ct2_block(f"layer_{block}", f"layers.{block}", tensor)
        state |= _ct2_part("layer_norm", "layer_norm", tensor)
        model_dim, bins, _ = state["conv1.weight"].shape
        config = WhisperConfig(
            model_dim=model_dim,
            blocks=blocks,
            heads=int(variables.floats("encoder/num_heads")),
            feedforward_dim=state["layers.0.fc1.weight"].shape[0],
            joined=joined,
            input_dim=bins,
        )
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: no encoder of a Whisper ({reason(error)})") from None
    return config, state


def _ct2_block(theirs: str, ours: str, tensor: Callable[[str], Tensor]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, part in _CT2_PARTS.items():
        state |= _ct2_part(f"{theirs}/{part}", f"{ours}.{name}", tensor)
    fused = f"{theirs}/self_attention/linear_0"
    for kind in ("weight", "bias"):
        # Copies: views of one matrix could not be saved as tensors of their own.
        rows = tensor(f"{fused}/{kind}")
        if not rows.ndim or len(rows) % 3:
            raise ValueError(f"{fused}/{kind} holds no queries, keys and values")
        query, key, value = (part.clone() for part in rows.chunk(3))
        parts: dict[str, Any] = {"q_proj": query, "k_proj": key, "v_proj": value}
        if kind == "bias":
            # Keys have none; in the fused row it is zero.
            del parts["k_proj"]
        state |= {f"{ours}.self_attn.{name}.{kind}": part for name, part in parts.items()}
    return state


def _ct2_part(theirs: str, ours: str, tensor: Callable[[str], Tensor]) -> dict[str, Tensor]:
    weight, bias = ("gamma", "beta") if theirs.endswith("layer_norm") else ("weight", "bias")
    return {f"{ours}.weight": tensor(f"{theirs}/{weight}"), f"{ours}.bias": tensor(f"{theirs}/{bias}")}
