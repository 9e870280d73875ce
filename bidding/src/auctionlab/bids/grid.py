"""Grids of multipliers that an agent chooses from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def geometric(low: float, high: float, count: int) -> Floats:
    """`count` multipliers from low to high, each the same factor above the last."""
    if not 0 < low < high:
        raise ValueError(f"a grid needs 0 < low < high, not {low} and {high}")
    if count < 2:
        raise ValueError(f"a grid needs at least 2 multipliers, not {count}")
    return np.geomspace(low, high, count)


def around(center: float, factor: float = 3.0, count: int = 41) -> Floats:
    """`count` multipliers from center / factor to center x factor; the center is one of an odd count."""
    if factor <= 1:
        raise ValueError(f"factor must be above 1, not {factor}")
    return geometric(center / factor, center * factor, count)


def checked(grid: ArrayLike) -> Floats:
    """A grid as an array. ValueError where it does not rise, or holds what is not 0 or more and finite."""
    try:
        values = np.array(grid, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("a grid of multipliers must be numbers") from error
    if values.ndim != 1 or values.size < 2:
        raise ValueError("a grid of multipliers must be a flat list of at least two")
    if not (np.isfinite(values).all() and values[0] >= 0 and (np.diff(values) > 0).all()):
        raise ValueError("a grid of multipliers must rise, from 0 or more, and be finite")
    return values
