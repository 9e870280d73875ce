"""The machine that a run is planned for: its memory, its disk, and how fast it computes.

What a run's batches were made for must not change while it runs, so that it is measured once and kept in the
run's folder.
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from nim4asr.errors import InputError
from nim4asr.files import locked, parse_json, read_text, write_atomic
from nim4asr.training.loop.precision import Precision, bf16_pays, training_device

Device = Literal["cpu", "cuda"]
KEPT = "machine.json"
# Of what is free, a run may take so much: a GPU is mostly its own, a computer's memory is not.
_GPU_SHARE, _RAM_SHARE = 0.9, 0.7
GIGA = 1e9


@dataclass(frozen=True)
class Machine:
    """What a run has."""

    name: str
    device: Device
    """Where the network is trained."""
    memory_bytes: int
    """What the run may take of the device's memory."""
    disk_bytes: int
    """What is free on the disk of the run's folder."""
    flops: float
    """Floating-point operations a second of one large matrix product."""
    precision: Precision
    """What matrices are multiplied in."""


def machine_of(folder: Path, memory_gb: float | None = None) -> Machine:
    """The machine of the run in ``folder``: the one that it began on, or, for its first start, this one.
    ``memory_gb`` is how much memory it may take from now on, in the place of a share of what is free.

    Raises ``InputError`` if what was kept cannot be read.
    """
    path = folder / KEPT
    with locked(path):
        if path.exists():
            kept = _read(path)
            if memory_gb is None:
                return kept
            # All else stays: what was decided by it must not change on the way.
            machine = replace(kept, memory_bytes=_bytes_of(memory_gb))
        else:
            machine = this_machine(folder, memory_gb)
        write_atomic(path, json.dumps(asdict(machine), indent=1) + "\n")
        return machine


def this_machine(folder: Path, memory_gb: float | None = None) -> Machine:
    """The machine at hand, measured in a second or two; nothing is kept.

    Raises ``InputError`` for a memory of nothing or less.
    """
    memory_bytes = None if memory_gb is None else _bytes_of(memory_gb)
    device = training_device()
    precision: Precision = "bf16" if bf16_pays(device) else "no"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    is_gpu = device.type == "cuda"
    return Machine(
        device="cuda" if is_gpu else "cpu",
        name=torch.cuda.get_device_name(device) if is_gpu else _threads(torch.get_num_threads()),
        memory_bytes=_free_memory(device) if memory_bytes is None else memory_bytes,
        disk_bytes=shutil.disk_usage(_existing(folder)).free,
        flops=_product_rate(device, dtype, 8192 if is_gpu else 1024),
        precision=precision,
    )


def _threads(count: int) -> str:
    return f"{count} processor {'thread' if count == 1 else 'threads'}"


def _read(path: Path) -> Machine:
    try:
        row = parse_json(read_text(path))
        machine = Machine(**row)
        numbers = (machine.memory_bytes, machine.disk_bytes, machine.flops)
        if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
            raise ValueError("no numbers")
        if machine.precision not in ("no", "bf16") or machine.device not in ("cpu", "cuda"):
            raise ValueError("no precision, or no device")
    except (ValueError, TypeError):
        raise InputError(
            f"{path}: this is no machine that a run could have begun on; remove the file"
        ) from None
    return machine


def _bytes_of(memory_gb: float) -> int:
    if not 0 < memory_gb < 1e9:
        raise InputError(f"a run needs some memory, not {memory_gb:g} GB")
    return int(memory_gb * GIGA)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
    import psutil

    return int(psutil.virtual_memory().available * _RAM_SHARE)


def _product_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second, of the shortest of some turns: what else runs on the machine can
    only make one longer.
    """
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / max(min(times), 1e-9)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
