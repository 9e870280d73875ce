"""A bound on what any policy of one ad can gain in hindsight, by Lagrange duality.

With rivals' bids fixed and their budgets slack, an auction is a choice among options: position k costs c and
gains g, or nothing. For any price of money lam >= 0,

    D(lam) = lam B + sum over auctions of max(0, max_k (g_k - lam c_k))

is at least what any policy gains that spends at most B. The least D is the bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.ladder import climb, require_slack
from auctionlab.auction.mechanism import Rules
from auctionlab.market.market import Market

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bound:
    """The best that hindsight allows."""

    bound: float
    """No policy of the ad gains more, in expected purchases' worth."""
    price_of_money: float
    """What one more unit of budget would gain, at the optimum."""
    cost: float
    """What the options chosen at that price cost; at most the budget."""
    options: int
    """How many positions were to choose from."""


def dual(
    market: Market, ad: int, budget: float, rules: Rules | None = None, *, budgets: Floats | None = None
) -> Bound:
    """The least dual value, by bisection on the price of money.

    The ad has the budget; where everyone's `budgets` (A,) are given, the rivals' are checked to be slack.

    Raises:
        ValueError: rivals' budgets may bind (no bound holds then), or the budget is negative.

    """
    rules = rules or Rules()
    if not budget >= 0:
        raise ValueError(f"the budget must be 0 or more, not {budget}")
    require_slack(market, ad, budgets, rules)
    cost, gain = climb(market, ad, rules).options(rules)
    if cost.size == 0:
        return Bound(0.0, 0.0, 0.0, 0)

    def spent(price: float) -> tuple[float, float]:
        net = gain - price * cost
        best = np.argmax(net, axis=1)
        rows = np.arange(net.shape[0])
        taken = net[rows, best] > 0
        surplus = float(net[rows, best][taken].sum())
        return price * budget + surplus, float(cost[rows, best][taken].sum())

    low, high = 0.0, 1.0
    if spent(0.0)[1] <= budget:
        high = 0.0
    else:
        while spent(high)[1] > budget:
            high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if spent(middle)[1] > budget:
            low = middle
        else:
            high = middle
        if high - low <= 1e-13 * high:
            break
    # D is convex and piecewise linear: its least value is at one end of the last bracket.
    value, cost_at_high = spent(high)
    return Bound(min(value, spent(low)[0]), high, cost_at_high, cost.size)
