"""Long arrays of ascending whole numbers in little room.

Each 64 numbers share a base of four or eight bytes, and each has two bytes beside it, four where two are not
enough: number i is ``bases[i >> 6] + offsets[i]``.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# 64 numbers have a base.
BLOCK_BITS = 6


def pack(values: Array) -> tuple[Array, Array]:
    """Offsets (N,) and bases (ceil(N / 64),) of ascending ``values`` (N,)."""
    bases = values[:: 1 << BLOCK_BITS].astype(np.int64)
    offsets = values - np.repeat(bases, 1 << BLOCK_BITS)[: len(values)]
    small = offsets.max(initial=0) < 1 << 16
    narrow = bases.max(initial=0) < 1 << 32
    return offsets.astype(np.uint16 if small else np.uint32), bases.astype(np.uint32 if narrow else np.int64)


def unpack(offsets: Array, bases: Array) -> Array:
    """All numbers (N,), in 64 bits."""
    return offsets + np.repeat(bases.astype(np.int64), 1 << BLOCK_BITS)[: len(offsets)]


def blocks(numbers: int) -> int:
    """How many bases so many numbers have."""
    return -(-numbers >> BLOCK_BITS)


def value_at(offsets: Array, bases: Array, place: Any) -> Any:
    """The number at ``place``. Plain enough for numba, as the next one is."""
    return np.int64(bases[place >> BLOCK_BITS]) + np.int64(offsets[place])


def first_not_below(offsets: Array, bases: Array, wanted: Any) -> Any:
    """The first place whose number is not below ``wanted``; their count if there is none."""
    low, high = 0, len(offsets)
    while low < high:
        middle = (low + high) // 2
        if value_at(offsets, bases, middle) < wanted:
            low = middle + 1
        else:
            high = middle
    return low
