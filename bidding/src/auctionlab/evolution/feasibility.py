"""Limits that no bids can keep to: found before the search where arithmetic shows it, else by step 20.

Three answers are possible before the search. Where a bound shows that a floor is out of reach, it is refused.
Where simple bids are found that keep to everything, it is within reach, and the search takes as long as it
takes. Between the two, the search begins, and is given up where it does not come nearer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auctionlab.auction.mechanism import Rules
from auctionlab.auction.population import clear_population
from auctionlab.evolution.objectives import Advertiser, budgets_of, limits_of, ppc_excess, revenue
from auctionlab.evolution.policy import Policies
from auctionlab.market.market import Integers, Market

Floats = NDArray[np.float64]

PATIENCE = 20
"""Steps after which a search that does not come nearer to its floor is given up."""
_FACTORS = np.geomspace(0.25, 8.0, 26)
_NEAR = 0.02
"""A floor missed by no more than this is left to the rest of the search."""


class InfeasibleError(ValueError):
    """Limits that no bids can keep to."""


def most_revenue(market: Market, advertisers: Sequence[Advertiser], rules: Rules) -> float:
    """The most that a day can pay, whatever is bid; infinite where nothing limits it.

    Two bounds, the lower of which is returned. An ad pays no more than its budget, nor more than its limit
    on the price of a click for every click that the top of all its auctions would bring. And the positions
    of an auction bring no more than the clicks of the best ads, each at its limit.
    """
    limits = limits_of(advertisers)
    budgets = budgets_of(advertisers)
    clicks = np.bincount(market.ad, market.click, minlength=market.ads)
    payable = np.where(clicks > 0, np.where(np.isfinite(limits), limits, np.inf), 0.0)
    with np.errstate(invalid="ignore"):
        by_ad = float(np.minimum(budgets, np.where(clicks > 0, payable * clicks, 0.0)).sum())
    if not np.isfinite(limits).all():
        return by_ad
    return min(by_ad, float(_by_auction(market.offsets, market.ad, market.click, limits, rules.effects)))


@njit(cache=True, nogil=True)
def _by_auction(offsets: Integers, ad: Integers, click: Floats, limits: Floats, effects: Floats) -> float:
    """Sum over auctions of the best click rates times limits, from the top position down."""
    total = 0.0
    for auction in range(offsets.size - 1):
        rows = np.arange(offsets[auction], offsets[auction + 1])
        worth = np.sort(-(click[rows] * limits[ad[rows]]))
        for position in range(min(worth.size, effects.size)):
            total -= worth[position] * effects[position]
    return total


def refuse_infeasible(
    days: Sequence[Market],
    advertisers: Sequence[Advertiser],
    rules: Rules,
    floor: float | None,
    usual: Sequence[float],
) -> None:
    """Raise InfeasibleError where arithmetic shows that limits cannot be kept to.

    Args:
        days: to be played.
        advertisers: one for each ad.
        rules: of the auctions.
        floor: least revenue as a share of the usual one; None for no floor.
        usual: each day's revenue of truthful bidding.

    """
    for ad, who in enumerate(advertisers):
        if who.ppc_limit < rules.reserve:
            raise InfeasibleError(
                f"ad {ad} may pay {who.ppc_limit:g} for a click, but the reserve is {rules.reserve:g}"
            )
    if floor is None:
        return
    for number, (day, paid) in enumerate(zip(days, usual, strict=True)):
        if not paid > 0:
            raise InfeasibleError(f"truthful bids pay nothing on day {number}: no floor can be a share of it")
        most = most_revenue(day, advertisers, rules)
        if floor * paid > most * (1 + 1e-9):
            raise InfeasibleError(
                f"a floor of {floor:g} asks {floor * paid:,.1f} of day {number}, but budgets and limits "
                f"can pay {most:,.1f} at most: the highest floor is {most / paid:.3f}"
            )


def reachable_revenue(
    market: Market, advertisers: Sequence[Advertiser], policies: Policies, rules: Rules
) -> float:
    """The most revenue of some simple profiles that keep to all limits; 0 where none does.

    They are: everyone bids a factor of what a click is worth, at most the limit on its price on average; and
    everyone bids a share of that limit, which keeps to it whatever happens.
    """
    budgets = budgets_of(advertisers)
    limits = limits_of(advertisers)
    flat = np.where(np.isfinite(limits), limits, policies.scale[:, 2])
    profiles = np.zeros((2 * _FACTORS.size, market.ads, 1, 3))
    profiles[: _FACTORS.size, :, 0, 1] = _FACTORS[:, None]
    profiles[_FACTORS.size :, :, 0, 2] = _FACTORS[:, None] * flat
    manual = policies.groups < 0
    profiles[:, manual] = (0.0, 1.0, 0.0)
    sums = clear_population(market, profiles, policies.units, budgets, rules)
    kept = (ppc_excess(sums, advertisers) <= 0).all(axis=1)
    return float(np.where(kept, revenue(sums), 0.0).max())


def refuse_conflict(floor: float | None, revenues: Sequence[float], multipliers: Sequence[float]) -> None:
    """Raise InfeasibleError at step PATIENCE where a floor does not come nearer, however hard it pushes.

    To be called where `reachable_revenue` has not shown that the floor is within reach.

    Args:
        floor: least revenue, as a share of truthful bidding's; None for no floor.
        revenues: of every step so far, in the same unit.
        multipliers: the floor's multiplier after every step.

    """
    if floor is None or len(revenues) != PATIENCE:
        return
    pushed = all(after > before for before, after in itertools.pairwise([0.0, *multipliers]))
    missing = [floor - revenue for revenue in revenues]
    before, after = np.mean(missing[: PATIENCE // 2]), np.mean(missing[PATIENCE // 2 :])
    if pushed and missing[-1] > _NEAR and after > 0.9 * before:
        raise InfeasibleError(
            f"after {PATIENCE} steps revenue stands at {revenues[-1]:.3f} of truthful bidding's, no nearer "
            f"to the floor of {floor:g} than before: budgets and limits on the price of a click do not let "
            f"it be reached; lower the floor or raise them"
        )
