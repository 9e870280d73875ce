"""What the platform decides: how positions are priced, and how much each one is seen."""

from __future__ import annotations

import enum
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class Mechanism(enum.Enum):
    """The price of a click, given all scores. All three rank by bid times click rate."""

    GSP = "gsp"
    """Generalized second price: the least bid that would have kept the position."""
    VCG = "vcg"
    """Vickrey-Clarke-Groves: the loss that the ad's presence causes to those below it."""
    FIRST_PRICE = "first-price"
    """The bid itself."""

    @property
    def code(self) -> int:
        """The number by which compiled code knows the mechanism."""
        return list(Mechanism).index(self)


@dataclass(frozen=True)
class Rules:
    """The rules of every auction of a day.

    Raises ValueError where positions are empty, do not begin with 1, rise, or leave [0, 1], and where the
    reserve is negative or not finite.
    """

    mechanism: Mechanism = Mechanism.GSP
    """How a click is priced."""
    positions: tuple[float, ...] = (1.0, 0.7, 0.5, 0.35)
    """The factor by which each position multiplies an ad's click rate, from the top; the first is 1."""
    reserve: float = 0.0
    """The least price of a click, in money. Bids below it do not take part."""

    def __post_init__(self) -> None:
        effects = self.positions
        if not effects:
            raise ValueError("positions is empty; an auction needs at least one position, as (1.0,)")
        if not all(math.isfinite(effect) and 0 <= effect <= 1 for effect in effects):
            raise ValueError(f"positions must lie in [0, 1], not {effects}")
        if effects[0] != 1:
            raise ValueError(
                f"the first position's effect must be 1, not {effects[0]}: click rates are the top's"
            )
        if any(lower > upper for upper, lower in itertools.pairwise(effects)):
            raise ValueError(f"positions must not rise from top to bottom: {effects}")
        if not (math.isfinite(self.reserve) and self.reserve >= 0):
            raise ValueError(f"the reserve must be a price of 0 or more, not {self.reserve}")

    @property
    def effects(self) -> NDArray[np.float64]:
        """The position effects as an array (K,)."""
        return np.asarray(self.positions, np.float64)
