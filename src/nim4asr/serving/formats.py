"""Formats of live sound: its sample rates, and G.711, the code of telephones, as tables from its bytes to
samples.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# Sample rates of live speech, in Hz.
RATES = range(4000, 192_001)


@cache
def mu_law() -> NDArray[np.int16]:
    """The 256 values of G.711's mu-law (ITU-T G.711, table 2a)."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def a_law() -> NDArray[np.int16]:
    """The 256 values of G.711's A-law (ITU-T G.711, table 1a)."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
