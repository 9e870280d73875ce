"""What sets an ad's multiplier, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Hour:
    """What one ad got in an hour."""

    impressions: float = 0.0
    """How often it was shown."""
    clicks: float = 0.0
    """Clicks, expected or counted."""
    cost: float = 0.0
    """Money spent."""
    conversions: float = 0.0
    """Purchases, expected or counted."""
    gmv: float = 0.0
    """What buyers spent."""


@dataclass(frozen=True)
class Status:
    """What a policy knows when an hour begins. It knows the past, never the hour itself."""

    hour: int
    """The hour that begins, from 0."""
    hours: int
    """Hours of the day."""
    left: float
    """Money left."""
    budget: float
    """Money at the start of the day."""
    last: Hour
    """What the hour before came to; zeros at the start."""
    multiplier: float
    """The multiplier of the hour before; 0 at the start."""

    @property
    def share_left(self) -> float:
        """Money left as a share of the budget; 0 for a budget of 0."""
        return self.left / self.budget if self.budget > 0 else 0.0


class Policy(Protocol):
    """A rule for one ad's multipliers. `begin` is called before each day, `multiplier` at each hour."""

    def begin(self) -> None:
        """Forget the day before."""

    def multiplier(self, status: Status) -> float:
        """What the signal is multiplied with this hour; 0 or more."""
