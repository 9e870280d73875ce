"""A model's folder to a model ready to run, by torch or by onnxruntime."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nim4asr.errors import InputError
from nim4asr.model.folder import ModelFolder, bundled
from nim4asr.runtime.graphs import NAMES, file_of
from nim4asr.runtime.network import Model

if TYPE_CHECKING:
    from nim4asr.runtime.vllm_network import VllmOptions

Runtime = Literal["onnx", "torch", "vllm"]
DTYPES = ("float32", "bfloat16", "float16")
MOST_THREADS = 1024
# Parameters under which a second thread costs more than it brings: nano takes the same time on two cores as
# on one, and half as much again of the processor.
_SMALL = 100_000_000


def load(
    place: str | Path | None = None,
    runtime: Runtime | None = None,
    device: str = "auto",
    dtype: str = "float32",
    threads: int | None = None,
    vllm: "VllmOptions | None" = None,
) -> Model:
    """The model at ``place``, a folder or the hub's ``org/name``; by default the bundled nano.

    ``runtime`` is by default onnxruntime for a model that comes with its graphs, on a processor in float32,
    and torch for any other. ``device`` and ``dtype``, that of the weights in memory, are torch's. ``threads``
    are those of the processor: by default one for a small model, all cores for others. The device "auto" is a
    GPU where there is one. ``vllm`` says how vLLM runs the language model, if it does.

    Raises ``InputError`` if there is no such model, if it cannot transcribe, or if the runtime is not
    installed.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise InputError(f"threads must be from 1 to {MOST_THREADS}, not {threads}")
    folder = ModelFolder.open(bundled() if place is None else place)
    if device == "auto":
        device = _best_device()
    plain = device == "cpu" and dtype == "float32"
    if runtime is None:
        runtime = "onnx" if plain and has_graphs(folder.path) and _installed("onnxruntime") else "torch"
    if vllm is not None or runtime == "vllm":
        if vllm is None:
            raise InputError("vLLM runs in an environment of its own: say which Python has it")
        return _load_vllm(folder, device, dtype, vllm)
    if runtime == "torch":
        return _load_torch(folder, device, dtype, threads)
    if not plain:
        raise InputError(f"onnxruntime runs on cpu in float32 here, not on {device} in {dtype}; use torch")
    return _load_onnx(folder, threads)


# What the drivers of NVIDIA's and AMD's GPUs, and of GPUs under WSL, put into a Linux system.
_GPU_NODES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def _best_device() -> str:
    # To import torch takes a second and 250 MB, which whoever has no GPU should not pay.
    if not _installed("torch") or (sys.platform == "linux" and not any(map(os.path.exists, _GPU_NODES))):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def has_graphs(folder: Path) -> bool:
    """Whether the model in ``folder`` comes with graphs for onnxruntime."""
    return any((folder / file_of(name)).exists() for name in NAMES)


def _installed(*packages: str) -> bool:
    return all(find_spec(package) is not None for package in packages)


def _load_onnx(folder: ModelFolder, threads: int | None) -> Model:
    if not has_graphs(folder.path):
        raise InputError(
            f"{folder.path}: the model has no graphs for onnxruntime; "
            f"write them with: nim4 export {folder.path}"
        )
    if not _installed("onnxruntime"):
        raise InputError("onnxruntime is not installed: pip install onnxruntime")
    from nim4asr.runtime.onnx_network import onnx_model

    return onnx_model(folder, threads)


def _load_vllm(folder: ModelFolder, device: str, dtype: str, options: "VllmOptions") -> Model:
    if not _installed("torch", "transformers"):
        raise InputError("beside vLLM the encoder runs on torch: pip install 'nim4asr[torch]'")
    import torch

    from nim4asr.model.checkpoint import load as load_checkpoint
    from nim4asr.runtime.vllm_network import vllm_model

    return vllm_model(load_checkpoint(folder, device, getattr(torch, dtype)), options)


def _load_torch(folder: ModelFolder, device: str, dtype: str, threads: int | None) -> Model:
    if not _installed("torch", "transformers"):
        raise InputError("this model runs on torch, which is not installed: pip install 'nim4asr[torch]'")
    import torch

    from nim4asr.model.checkpoint import load as load_checkpoint
    from nim4asr.runtime.torch_network import torch_model

    try:
        # Asking for a value tells of devices that hold none, such as meta.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"the device {device!r} is not available here; try cpu") from None
    checkpoint = load_checkpoint(folder, device, getattr(torch, dtype))
    small = sum(p.numel() for p in checkpoint.network.parameters()) < _SMALL
    torch.set_num_threads(threads or (1 if small else torch.get_num_threads()))
    return torch_model(checkpoint)
