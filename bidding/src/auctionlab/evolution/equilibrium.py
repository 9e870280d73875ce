"""How much an ad could still gain by leaving what was learned, the others' policies as they are.

Two ways to leave are tried. *Scaling*: all bids of the ad times a factor. *The exact plan*: a factor for
every hour by backward induction over hours and money, against the rivals' bids of the day, none above the
money that the rival has left by the hour. Both are chosen on one day and played on another, everyone's
budgets included, so that the gain is one that the ad would really have had, and no mere luck of hindsight.
Near 0 for every ad is an equilibrium of these deviations. Ads that cooperate have much to gain by betraying
the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.clearing import clear
from auctionlab.auction.population import affine_bids, clear_population
from auctionlab.bids.grid import around
from auctionlab.evolution.objectives import Advertiser, Objective, budgets_of, ppc_excess, reached
from auctionlab.evolution.trained import Trained, truthful
from auctionlab.market.market import Market
from auctionlab.optimum.landscape import Landscape, landscape
from auctionlab.optimum.plan import plan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Deviations:
    """What each ad could gain, as a share of what truthful bidding gives it."""

    scaling: Floats
    """(A,) by one factor on all its bids: within the form of policy that was learned."""
    plan: Floats
    """(A,) by the exact plan of its hours."""

    @property
    def best(self) -> Floats:
        """(A,) by the better one."""
        return np.maximum(self.scaling, self.plan)


def deviations(
    trained: Trained,
    yesterday: Market,
    today: Market,
    advertisers: Sequence[Advertiser],
    *,
    factors: Sequence[float] = tuple(np.geomspace(0.1, 10.0, 41)),
) -> Deviations:
    """What each ad could gain, relative to what truthful bidding gives it; 0 where it gains nothing.

    Deviations are chosen on yesterday's market and played on today's. One by which an ad breaks its limit on
    the price of a click, further than it does already, does not count.
    """
    rules, units = trained.game.rules, trained.policies.units
    budgets = budgets_of(advertisers)
    weights = trained.policies.weights(trained.theta[None])
    base = np.abs(reached(truthful(today, advertisers, rules), advertisers))
    stay = clear_population(today, weights, units, budgets, rules)
    now = reached(stay, advertisers)[0]
    # Weights of every hour, so that a plan may change them by the hour.
    hourly = weights[:, :, np.arange(today.hours) * weights.shape[2] // max(today.hours, 1)]
    own, played = bids(trained, yesterday), as_played(trained, yesterday, budgets)
    gains = np.zeros((2, today.ads))
    for ad, who in enumerate(advertisers):
        tried = np.repeat(weights, len(factors), axis=0)
        tried[:, ad] *= np.asarray(factors)[:, None, None]
        seen = clear_population(yesterday, tried, units, budgets, rules)
        kept = ppc_excess(seen, advertisers)[:, ad] <= 0
        chosen = int(np.argmax(np.where(kept, reached(seen, advertisers)[:, ad], -np.inf)))
        ways = np.repeat(hourly, 2, axis=0)
        ways[0, ad] *= factors[chosen]
        ways[1, ad] *= _planned(played, own, ad, who, trained)[:, None]
        outcomes = clear_population(today, ways, units, budgets, rules)
        limit = max(float(ppc_excess(stay, advertisers)[0, ad]), 0.0) + 1e-9
        allowed = ppc_excess(outcomes, advertisers)[:, ad] <= limit
        gains[:, ad] = np.where(allowed, reached(outcomes, advertisers)[:, ad] - now[ad], 0.0)
    scaled, planned = np.maximum(gains, 0.0) / np.maximum(base, 1e-12)
    return Deviations(scaled, planned)


def bids(trained: Trained, market: Market) -> Floats:
    """(E,) the bids that learned policies make on a day, before budgets."""
    return affine_bids(market, trained.policies.weights(trained.theta[None])[0], trained.policies.units)


def as_played(trained: Trained, market: Market, budgets: Floats) -> Market:
    """The day with everyone's bids as standing ones, none above the money left when its hour began."""
    given = bids(trained, market)
    outcome = clear(market, given, budgets, rules=trained.game.rules)
    spent = np.cumsum(outcome.cost, axis=0) - outcome.cost
    hour = np.repeat(market.hour, np.diff(market.offsets))
    left = np.maximum(budgets - spent, 0.0)
    return market.with_bids(np.minimum(given, left[hour, market.ad]))


def _planned(played: Market, own: Floats, ad: int, who: Advertiser, trained: Trained) -> Floats:
    """(H,) factors of the exact plan on an ad's bids, from those of all as they were meant (E,)."""
    grid = around(1.0, 10.0)
    responses = landscape(_wanted(played, ad, who), ad, grid, trained.game.rules, signal=own)
    if who.objective is Objective.PROFIT:
        responses = Landscape(grid, responses.cost, responses.gain - responses.cost, responses.clicks)
    budget = who.budget if np.isfinite(who.budget) else max(float(responses.cost.max(axis=1).sum()), 1e-9)
    if not budget > 0:
        return np.ones(played.hours)
    found = plan(responses, budget, levels=1001)
    left, factors = budget, np.ones(played.hours)
    for hour in range(played.hours):
        action = found.choice(hour, left)
        factors[hour] = grid[action]
        left = max(left - float(responses.cost[hour, action]), 0.0)
    return factors


def _wanted(market: Market, ad: int, who: Advertiser) -> Market:
    """The day with what a click is worth to an ad by its objective as its purchases' worth."""
    row = market.ad == ad
    if who.objective is Objective.CLICKS:
        ones = np.where(row, 1.0, market.conversion)
        return replace(market, conversion=ones, price=np.where(row, 1.0, market.price))
    if who.objective is Objective.CONVERSIONS:
        return replace(market, price=np.where(row, 1.0, market.price))
    return market
