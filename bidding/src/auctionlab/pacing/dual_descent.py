"""Adaptive pacing by dual descent (Balseiro and Gur 2019, Management Science 65(9)).

The multiplier is 1 / mu, mu the price of money. After each hour mu moves against the difference of the
money that should have been spent and what was: up when too much was spent, down when too little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from auctionlab.pacing.policy import Status


@dataclass
class DualDescent:
    """mu <- mu exp(step x (cost / target - 1)), the target being an equal share of the money for each hour.

    The multiplicative form keeps mu positive without a projection.
    """

    base: float
    """The multiplier of the first hour."""
    step: float = 0.1
    """Size of a step."""
    most: float = 10.0
    """The largest factor up or down from the base."""
    _price: float = field(default=0.0, init=False, repr=False)

    def begin(self) -> None:
        """Back to the first price of money."""
        self._price = 1.0 / self.base

    def multiplier(self, status: Status) -> float:
        """The multiplier after what the hour before cost."""
        if status.hour > 0 and status.budget > 0:
            target = status.budget / status.hours
            self._price *= math.exp(self.step * min(status.last.cost / target - 1.0, 10.0))
            self._price = min(max(self._price, 1.0 / (self.base * self.most)), self.most / self.base)
        return 1.0 / self._price
