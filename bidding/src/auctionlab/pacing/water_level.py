"""The constant multiplier of the rest of the day, found anew each hour from a day that is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auctionlab.optimum.landscape import Landscape
from auctionlab.pacing.policy import Status


@dataclass(frozen=True)
class WaterLevel:
    """At each hour: the one multiplier at which the rest of the known day costs the money that is left."""

    responses: Landscape
    """The known day."""

    def begin(self) -> None:
        """Nothing is remembered."""

    def multiplier(self, status: Status) -> float:
        """The multiplier for the rest of the day, interpolated between those of the grid."""
        rest = self.responses.cost[status.hour :].sum(axis=0)
        # Costs rise with the multiplier but for ties among positions; interpolation needs them to.
        rising = np.maximum.accumulate(rest)
        return float(np.interp(status.left, rising, self.responses.grid))
