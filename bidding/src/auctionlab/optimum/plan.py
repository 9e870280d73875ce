"""The exact plan: what a perfect learner of the hourly decision process would do.

Backward induction over hours and money. Hour h at multiplier m would cost C[h, m] and gain G[h, m]; with
money b, the share f = min(1, b / C) of it is had:

    V_h(b) = max_m  f G[h, m] + V_{h+1}(b - f C[h, m]),    V_H = 0.

It tells faults of a formulation from faults of learning: what a learner lacks to the plan is learning, what
the plan lacks to the bound of hindsight is the formulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auctionlab.optimum.landscape import Landscape

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """The best multiplier for every hour and every amount of money."""

    grid: Floats
    """(M,) the multipliers."""
    money: Floats
    """(L,) amounts of money, from 0 to the budget."""
    values: Floats
    """(H + 1, L) what can still be gained."""
    choices: NDArray[np.int64]
    """(H, L) index of the best multiplier."""

    def choice(self, hour: int, left: float) -> int:
        """Index of the multiplier for an hour, with so much money left."""
        step = self.money[1] if self.money.size > 1 else 1.0
        level = round(left / step) if step > 0 else 0
        return int(self.choices[hour, min(max(level, 0), self.money.size - 1)])


def plan(responses: Landscape, budget: float, *, levels: int = 2001) -> Plan:
    """The plan for a day with these responses and a budget.

    Money is discretized into `levels` amounts, values between them interpolated. Raises ValueError for a
    budget that is not positive and finite, or fewer than two levels.
    """
    if not 0 < budget < np.inf:
        raise ValueError(f"a plan needs a budget above 0 and finite, not {budget}")
    if levels < 2:
        raise ValueError(f"a plan needs at least 2 levels of money, not {levels}")
    money = np.linspace(0, budget, levels)
    values = np.zeros((responses.hours + 1, levels))
    choices = np.zeros((responses.hours, levels), np.int64)
    _induce(responses.cost, responses.gain, money[1], values, choices)
    return Plan(responses.grid, money, values, choices)


@njit(cache=True, nogil=True, error_model="numpy")
def _induce(cost: Floats, gain: Floats, step: float, values: Floats, choices: NDArray[np.int64]) -> None:
    hours, actions = cost.shape
    levels = values.shape[1]
    for hour in range(hours - 1, -1, -1):
        for level in range(levels):
            money = level * step
            best, chosen = -1.0, 0
            for action in range(actions):
                price = cost[hour, action]
                share = 1.0 if price <= money else money / price
                rest = (money - share * price) / step
                below = min(int(rest), levels - 2)
                weight = rest - below
                later = (1 - weight) * values[hour + 1, below] + weight * values[hour + 1, below + 1]
                value = share * gain[hour, action] + later
                if value > best:
                    best, chosen = value, action
            values[hour, level] = best
            choices[hour, level] = chosen
