"""Random numbers without a stream: each is a hash of what it is for.

A number depends on the seed, the auction, the ad and the purpose, and on nothing else. So the same click
happens to the same ad in the same auction whatever the others bid, in however many pieces a day is run and
on however many threads: comparisons of policies use common random numbers by construction.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CLICK = 0
PURCHASE = 1

_STEP = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, inline="always")
def _mix(word: np.uint64) -> np.uint64:
    # The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every input bit moves half of the output bits.
    word ^= word >> np.uint64(30)
    word *= np.uint64(0xBF58476D1CE4E5B9)
    word ^= word >> np.uint64(27)
    word *= np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@njit(cache=True, inline="always")
def chances(seed: int, auction: int) -> np.uint64:
    """What all numbers of an auction share; `chance` makes one of it."""
    word = _mix(np.uint64(seed) + _STEP)
    return _mix((word ^ np.uint64(auction)) + _STEP)  # type: ignore[no-any-return]


@njit(cache=True, inline="always")
def chance(shared: np.uint64, ad: int, purpose: int) -> float:
    """A number in [0, 1) of 53 bits for one purpose of one ad in the auction."""
    word = _mix((shared ^ np.uint64(2 * ad + purpose)) + _STEP)
    return float(word >> np.uint64(11)) * 2.0**-53


@njit(cache=True)
def uniform(seed: int, auction: int, ad: int, purpose: int) -> float:
    """The number of an auction, an ad and a purpose, in one go."""
    return chance(chances(seed, auction), ad, purpose)  # type: ignore[no-any-return]
