"""FireRedASR's public weights as a nim4asr checkpoint.

A FireRedASR-AED folder holds ``model.pth.tar`` and ``cmvn.ark``: its encoder comes over. A FireRedASR-LLM
folder holds ``model.pth.tar`` (projector and LoRA), ``asr_encoder.pth.tar``, ``cmvn.ark`` and the language
model in ``Qwen2-7B-Instruct``: everything comes over, the LoRA matrices merged into the weights they belong
to.

The published files are pickles. They are read with torch's restricted loader, which builds tensors and
plain values and runs no code of the file's.
"""

import argparse
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nim4asr.acoustics.normalization import Cmvn
from nim4asr.errors import InputError
from nim4asr.model.assembly import portable_config, public_tokenizer
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.importers.base import filled
from nim4asr.model.prompt import PromptConfig
from nim4asr.model.shapes import AdaptorConfig, ConformerConfig

MODEL = "model.pth.tar"
_LLM_ENCODER = "asr_encoder.pth.tar"
_CMVN = "cmvn.ark"
_BINS = 80
# What FireRedASR-LLM was trained with; its arguments do not say.
_LORA_ALPHA = 16.0
# The words before and after the speech in FireRedASR-LLM's training.
_LLM_PROMPT = PromptConfig(system="You are a helpful assistant.", task="")

Weights = dict[str, Tensor]


def import_firered(folder: Path) -> Checkpoint:
    """The checkpoint in a FireRedASR-AED or FireRedASR-LLM folder.

    Raises ``InputError`` if files are missing or are not what the layout says.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    for name in (MODEL, _CMVN):
        if not (folder / name).exists():
            raise InputError(f"{folder}: not a FireRedASR folder; {name} is missing")
    cmvn = read_kaldi_cmvn(folder / _CMVN)
    weights = _read_weights(folder / MODEL)
    if (folder / _LLM_ENCODER).exists():
        return _import_llm(folder, weights, cmvn)
    encoder = _under("encoder.", weights)
    config = Nim4Config(name="FireRedASR-AED encoder", encoder=encoder_config(encoder, folder))
    return Checkpoint(filled(config, {f"encoder.{k}": v for k, v in encoder.items()}, folder), cmvn)


def encoder_config(weights: Mapping[str, Tensor], folder: Path) -> ConformerConfig:
    """The shape of the encoder whose weights, named without prefix, are given."""
    try:
        depthwise = weights["layer_stack.0.conv.depthwise_conv.weight"]
        heads, _ = weights["layer_stack.0.mhsa.pos_bias_u"].shape
        model_dim = weights["input_preprocessor.out.weight"].shape[0]
        inner = weights["layer_stack.0.ffn1.net.1.weight"].shape[0]
        channels = weights["input_preprocessor.conv.0.weight"].shape[0]
    except (KeyError, ValueError):
        raise InputError(f"{folder}: the weights hold no FireRedASR encoder") from None
    blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layer_stack."))
    return ConformerConfig(
        model_dim=model_dim,
        blocks=blocks,
        heads=heads,
        kernel_size=depthwise.shape[-1],
        feedforward_multiplier=inner // model_dim,
        subsampling_channels=channels,
    )


def read_kaldi_cmvn(path: Path) -> Cmvn:
    """Kaldi's normalization statistics, a matrix of two rows, binary or text.

    The first row is the sums of the bins and the number of frames, the second the sums of squares.
    """
    try:
        stats = _kaldi_matrix(path.read_bytes())
    except (ValueError, struct.error, UnicodeDecodeError):
        raise InputError(f"{path}: this is no Kaldi matrix") from None
    if stats.shape != (2, _BINS + 1):
        raise InputError(f"{path}: expected a matrix of 2 x {_BINS + 1} statistics, got {stats.shape}")
    try:
        return Cmvn.from_sums(float(stats[0, -1]), stats[0, :-1], stats[1, :-1])
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _kaldi_matrix(data: bytes) -> np.ndarray[Any, Any]:
    start = data.find(b"\0B")
    if start < 0:
        rows = data.decode().partition("[")[2].partition("]")[0].strip().splitlines()
        return np.array([[float(x) for x in row.split()] for row in rows], np.float64)
    kind, at = data[start + 2 : start + 5], start + 5
    if kind not in (b"FM ", b"DM "):
        raise ValueError(kind)
    (_, rows_, _, columns) = struct.unpack_from("<bibi", data, at)
    dtype = "<f4" if kind == b"FM " else "<f8"
    values = np.frombuffer(data, dtype, rows_ * columns, at + 10)
    return values.reshape(rows_, columns).astype(np.float64)


def _read_weights(path: Path) -> Weights:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            package = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        state = package["model_state_dict"]
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:
        # torch.load raises whatever its input provokes: pickle, zip, runtime and key errors.
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "empty"
        raise InputError(f"{path}: the weights cannot be read ({reason})") from None


def _under(prefix: str, weights: Mapping[str, Tensor]) -> Weights:
    # The sinusoids of the positions are stored there too; they are computed here.
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix) and "positional_encoding" not in name
    }


def _import_llm(folder: Path, weights: Weights, cmvn: Cmvn) -> Checkpoint:
    encoder = _under("encoder.", weights)
    if not encoder:
        package = _read_weights(folder / _LLM_ENCODER)
        encoder = _under("encoder.", package) or package
    projector = _under("encoder_projector.", weights)
    llm_folder = next((path.parent for path in sorted(folder.glob("*/config.json"))), None)
    if llm_folder is None:
        raise InputError(f"{folder}: the language model's folder (Qwen2-7B-Instruct) is missing")
    shape = encoder_config(encoder, folder)
    try:
        hidden, stacked = projector["linear1.weight"].shape
        llm_dim = projector["linear2.weight"].shape[0]
    except KeyError:
        raise InputError(f"{folder / MODEL}: the weights hold no encoder_projector") from None
    llm = merge_lora(_read_llm(llm_folder), _under("llm.", weights), _LORA_ALPHA)
    config = Nim4Config(
        name="FireRedASR-LLM",
        encoder=shape,
        adaptor=AdaptorConfig(shape.model_dim, llm_dim, stacked // shape.model_dim, hidden),
        llm=_llm_config(llm_folder / "config.json"),
        prompt=_LLM_PROMPT,
    )
    state = {
        **{f"encoder.{name}": value for name, value in encoder.items()},
        **{f"adaptor.{name}": value for name, value in projector.items()},
        **{f"llm.{name}": value for name, value in llm.items()},
    }
    state.setdefault("llm.lm_head.weight", state["llm.model.embed_tokens.weight"])
    tokenizer = public_tokenizer(llm_folder)
    return Checkpoint(filled(config, state, folder), cmvn, tokenizer)


def _llm_config(path: Path) -> dict[str, Any]:
    from transformers import AutoConfig

    try:
        return portable_config(AutoConfig.from_pretrained(str(path.parent)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no configuration of a language model ({error})") from None


def _read_llm(folder: Path) -> Weights:
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder}: the language model has no safetensors weights")
    return {name: value for file in files for name, value in load_file(file).items()}


def merge_lora(base: Weights, adapters: Mapping[str, Tensor], alpha: float) -> Weights:
    """``base`` with W + (alpha / r) B A for each pair of LoRA matrices (Hu et al. 2021).

    ``adapters`` are named as PEFT names them; entries that are no LoRA matrices replace those of ``base``.
    """
    merged = dict(base)
    for name, value in adapters.items():
        plain = name.removeprefix("base_model.model.")
        if "lora_A" in plain:
            target = plain.partition(".lora_A")[0] + ".weight"
            other = adapters.get(name.replace("lora_A", "lora_B"))
            if other is None or target not in merged:
                raise InputError(f"the LoRA matrix {name!r} has no counterpart in the model")
            weight = merged[target]
            delta = (alpha / value.shape[0]) * (other.float() @ value.float())
            merged[target] = (weight.float() + delta).to(weight.dtype)
        elif "lora_" not in plain:
            merged[plain.replace(".base_layer", "")] = value
    return merged
