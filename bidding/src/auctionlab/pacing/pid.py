"""PID control of the money spent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from auctionlab.pacing.policy import Status


@dataclass
class PID:
    """base x exp(kp e + ki sum(e) + kd change of e), e = share left - share that should be left.

    The state is cleared before each day.
    """

    base: float
    """The multiplier where nothing is off."""
    path: Sequence[float]
    """Share of money that should be left at the start of each hour."""
    proportional: float = 2.0
    """kp."""
    integral: float = 0.5
    """ki."""
    derivative: float = 1.0
    """kd."""
    most: float = 3.0
    """The largest factor up or down."""
    _sum: float = field(default=0.0, init=False, repr=False)
    _last: float = field(default=0.0, init=False, repr=False)

    def begin(self) -> None:
        """Forget the errors of the day before."""
        self._sum = self._last = 0.0

    def multiplier(self, status: Status) -> float:
        """The multiplier for the error now."""
        error = status.share_left - self.path[status.hour]
        self._sum += error
        drive = self.proportional * error + self.integral * self._sum + self.derivative * (error - self._last)
        self._last = error
        bound = math.log(self.most)
        return self.base * math.exp(min(max(drive, -bound), bound))
