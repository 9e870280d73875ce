"""In which precision matrices are multiplied while training: float32, or bfloat16 where that is faster.

Under autocast the products are bfloat16; weights, norms, sums of the residual stream, CTC and losses stay
float32.
"""

import json
import time
from pathlib import Path
from typing import Literal

import torch

from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, write_atomic

Precision = Literal["no", "bf16"]
KEPT = "precision.json"
# A product about as large as those of nano's feed-forward layers in a batch of 96 s.
_ROWS, _INNER, _OUT = 2400, 192, 768
# bfloat16 must be so many times as fast: below, its casts cost more than it brings.
_WORTH = 1.3
# So many times as slow, it is emulated.
_HOPELESS = 8.0


def training_device() -> torch.device:
    """Where a run trains: the GPU if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_of(asked: Literal["no", "bf16", "auto"], folder: Path, device: torch.device) -> Precision:
    """What the run in ``folder`` computes in. ``auto`` measures at its first start, and keeps to what it
    found.

    Raises ``InputError`` if what was kept cannot be read.
    """
    if asked != "auto":
        return asked
    path = folder / KEPT
    if not path.exists():
        write_atomic(path, json.dumps({"precision": "bf16" if bf16_pays(device) else "no"}) + "\n")
    try:
        kept = parse_json(read_text(path))["precision"]
    except (ValueError, KeyError, TypeError):
        kept = None
    if kept in ("bf16", "no"):
        return "bf16" if kept == "bf16" else "no"
    raise InputError(f"{path}: this is no precision that a run could have chosen; remove the file")


def bf16_pays(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32 here, by enough to be worth it.

    On a processor that has them (AVX512-BF16, AMX) they take half the time or less; on one that has not, they
    are emulated, and take many times as long.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    # Emulated, a large product takes many seconds; a small one tells as well.
    small = (_ROWS // 24, 3)
    if _seconds(torch.bfloat16, *small) > _HOPELESS * _seconds(torch.float32, *small):
        return False
    return _seconds(torch.float32, _ROWS, 12) > _WORTH * _seconds(torch.bfloat16, _ROWS, 12)


def _seconds(dtype: torch.dtype, rows: int, turns: int) -> float:
    """The shortest of some products: what else runs on the machine can only make one longer."""
    left, right = torch.ones(rows, _INNER, dtype=dtype), torch.ones(_INNER, _OUT, dtype=dtype)
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - began)
    return min(times)
