"""Weights in 8 bits: a quarter of float32's file, half of float16's.

A matrix W (rows, ...) is stored as whole numbers Q from -127 to 127 with a scale s for each row (output
channel),

    W ~ Q * s,   s = max |W| / 127 over the row,

under the names ``NAME`` and ``NAME.scale``. Vectors, such as biases and the scales of norms, stay as they
are: they are few, and their errors are not averaged out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats

SCALE = ".scale"
_LARGEST = 127
# Smaller ones are no part of a file's size.
_LEAST_ROW = 16


def is_quantized(names: Mapping[str, Any], name: str) -> bool:
    """Whether the weights ``name`` lie in 8 bits among ``names``."""
    return name + SCALE in names


def is_scale(names: Mapping[str, Any], name: str) -> bool:
    """Whether ``name`` holds the scales of other weights among ``names``."""
    return name.endswith(SCALE) and name.removesuffix(SCALE) in names


def can_be_quantized(shape: tuple[int, ...]) -> bool:
    """Whether weights of such a shape are worth it: matrices whose rows are not tiny."""
    return len(shape) > 1 and int(np.prod(shape[1:])) >= _LEAST_ROW


def quantized(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """``weights`` (rows, ...) as whole numbers of the same shape, and scales (rows,)."""
    rows = weights.reshape(len(weights), -1)
    scale = np.abs(rows).max(axis=1).astype(np.float32) / _LARGEST
    whole = np.round(rows / np.where(scale > 0, scale, 1.0)[:, None])
    return whole.astype(np.int8).reshape(weights.shape), scale


def dequantized(whole: NDArray[np.int8], scale: Floats) -> Floats:
    """The inverse of ``quantized``, but for rounding.

    Raises ``ValueError`` if they do not belong together.
    """
    if whole.dtype != np.int8 or scale.shape != whole.shape[:1]:
        raise ValueError(f"scales of the shape {scale.shape} for weights of the shape {whole.shape}")
    weights: Floats = whole.astype(np.float32) * scale.astype(np.float32).reshape(-1, *[1] * (whole.ndim - 1))
    return weights
