"""A multiplier that follows the money: higher when more is left than usual, lower when less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auctionlab.optimum.landscape import Landscape
from auctionlab.pacing.policy import Status

Floats = NDArray[np.float64]


def spending_path(responses: Landscape, multiplier: float) -> tuple[float, ...]:
    """Share of the day's money left at the start of each hour, at a constant multiplier: (H + 1) numbers.

    The multiplier's costs are interpolated between those of the landscape's grid.
    """
    cost = np.array([np.interp(multiplier, responses.grid, hourly) for hourly in responses.cost])
    spent = np.concatenate([[0.0], np.cumsum(cost)])
    return tuple(1.0 - spent / spent[-1]) if spent[-1] > 0 else tuple(np.ones(spent.size))


@dataclass(frozen=True)
class Paced:
    """base x (share left / share usually left) ^ strength, within a factor of `most`."""

    base: float
    """The multiplier where money runs as usual."""
    path: Sequence[float]
    """Share of money usually left at the start of each hour, as from `spending_path`."""
    strength: float = 1.0
    """How much it answers to a difference; 0 is a constant."""
    most: float = 3.0
    """The largest factor up or down."""

    def begin(self) -> None:
        """Nothing is remembered."""

    def multiplier(self, status: Status) -> float:
        """The multiplier for the money that is left."""
        usual = self.path[status.hour]
        if usual <= 0:
            return self.base
        factor = (status.share_left / usual) ** self.strength
        return self.base * float(np.clip(factor, 1 / self.most, self.most))
