"""The same optimum as a linear program, with a limit on the price of a click."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, vstack

from auctionlab.auction.ladder import climb, require_slack
from auctionlab.auction.mechanism import Rules
from auctionlab.market.market import Market

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """The optimum over mixtures of positions."""

    gain: float
    """Expected purchases' worth."""
    cost: float
    """Money spent."""
    clicks: float
    """Expected clicks."""
    price_of_money: float
    """Dual value of the budget."""
    price_of_limit: float
    """Dual value of the limit on the price of a click; 0 where none was given or it does not bind."""


def program(
    market: Market,
    ad: int,
    budget: float,
    rules: Rules | None = None,
    *,
    ppc_limit: float | None = None,
    budgets: Floats | None = None,
) -> Solution:
    """Maximize gain subject to cost <= budget and cost <= ppc_limit x clicks, by HiGHS.

    It proves what `dual` bisects for, and takes constraints that bisection does not; it is some hundred
    times slower. Raises ValueError as `dual` does, and for a negative limit.
    """
    rules = rules or Rules()
    if not budget >= 0:
        raise ValueError(f"the budget must be 0 or more, not {budget}")
    if ppc_limit is not None and not ppc_limit >= 0:
        raise ValueError(f"the limit on the price of a click must be 0 or more, not {ppc_limit}")
    require_slack(market, ad, budgets, rules)
    ladder = climb(market, ad, rules)
    cost, gain = ladder.options(rules)
    count, slots = cost.shape
    if count == 0:
        return Solution(0.0, 0.0, 0.0, 0.0, 0.0)
    clicks = (ladder.click[:, None] * rules.effects).ravel()
    spending = cost.ravel()
    rows = [csr_array(spending[None, :])]
    limits = [budget]
    if ppc_limit is not None:
        rows.append(csr_array((spending - ppc_limit * clicks)[None, :]))
        limits.append(0.0)
    # At most one position in each auction.
    once = csr_array(
        (np.ones(count * slots), np.arange(count * slots), np.arange(count + 1) * slots),
        shape=(count, count * slots),
    )
    answer = linprog(
        -gain.ravel(),
        A_ub=vstack([*rows, once]),
        b_ub=np.concatenate([limits, np.ones(count)]),
        bounds=(0, 1),
        method="highs",
    )
    if not answer.success:
        raise RuntimeError(f"the linear program was not solved: {answer.message}")
    prices = -answer.ineqlin.marginals
    return Solution(
        gain=float(-answer.fun),
        cost=float(spending @ answer.x),
        clicks=float(clicks @ answer.x),
        price_of_money=float(prices[0]),
        price_of_limit=float(prices[1]) if ppc_limit is not None else 0.0,
    )
