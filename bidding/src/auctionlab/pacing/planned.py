"""The exact plan of one day, followed on another."""

from __future__ import annotations

from dataclasses import dataclass

from auctionlab.optimum.plan import Plan
from auctionlab.pacing.policy import Status


@dataclass(frozen=True)
class Planned:
    """The plan's choice for the hour and for the share of money left."""

    plan: Plan
    """A plan for as many hours; its budget may be another."""

    def begin(self) -> None:
        """Nothing is remembered."""

    def multiplier(self, status: Status) -> float:
        """The plan's multiplier, money counted in shares of the budget."""
        left = status.share_left * float(self.plan.money[-1])
        return float(self.plan.grid[self.plan.choice(status.hour, left)])
