"""One multiplier for the whole day: the baseline that stands in every table."""

from __future__ import annotations

from dataclasses import dataclass

from auctionlab.pacing.policy import Status


@dataclass(frozen=True)
class Constant:
    """The same multiplier every hour."""

    value: float
    """The multiplier, 0 or more."""

    def begin(self) -> None:
        """Nothing is remembered."""

    def multiplier(self, status: Status) -> float:
        """The constant."""
        return self.value
