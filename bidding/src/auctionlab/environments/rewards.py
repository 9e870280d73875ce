"""What an agent is paid: its own purchases, those of all, and a loan against the money it still has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shaping:
    """Potential-based shaping by the price of money (ours; Ng, Harada and Russell 1999 for the law).

    With the potential price x money left, and 0 after the last hour, r' = r + phi(next) - phi(now) has the
    same best policies as r. It takes the large common part out of what must be learned: money that is spent
    now is money that cannot be spent later.
    """

    price_of_money: float = 0.0
    """What a unit of budget gains at the margin; 0 is no shaping."""

    def potential(self, left: float, over: bool) -> float:
        """Of a state."""
        return 0.0 if over else self.price_of_money * left

    def reward(self, gain: float, before: float, after: float, over: bool) -> float:
        """The shaped reward of an hour with this gain, from money left before to after."""
        return gain + self.potential(after, over) - self.potential(before, False)


def mixed(own: Floats, weight: float) -> Floats:
    """(1 - w) of each ad's own gain and w of the mean of all (A,): SS-RTB's cooperative reward.

    The paper does not give its weights. ValueError where w is not between 0 and 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the common reward must lie between 0 and 1, not {weight}")
    return (1 - weight) * own + weight * float(own.mean()) if own.size else own
