"""The definitions, one auction at a time in plain Python: what the compiled core is tested against.

Nothing here is fast, and nothing is shared with the core but the random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from auctionlab.auction.chance import CLICK, PURCHASE, uniform
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.market.market import Market


@dataclass(frozen=True)
class Placement:
    """One ad in one position."""

    candidate: int
    """Which candidate of the auction."""
    position: int
    """0 is the top."""
    price: float
    """Money per click."""


def auction(offers: Sequence[float], rates: Sequence[float], rules: Rules) -> list[Placement]:
    """Who is shown where and at what price, given everyone's offer and click rate.

    VCG is written as what it means: what the others' clicks would be worth without this ad, less what they
    are worth with it, for each click that it gets.
    """
    taking_part = [
        candidate
        for candidate, (offer, rate) in enumerate(zip(offers, rates, strict=True))
        if offer >= rules.reserve and offer * rate > 0
    ]
    order = sorted(taking_part, key=lambda candidate: (-offers[candidate] * rates[candidate], candidate))
    placements = []
    for position, candidate in enumerate(order[: len(rules.positions)]):
        offer, rate = offers[candidate], rates[candidate]
        if rules.mechanism is Mechanism.FIRST_PRICE:
            price = offer
        elif rules.mechanism is Mechanism.GSP:
            follower = order[position + 1] if position + 1 < len(order) else None
            needed = 0.0 if follower is None else offers[follower] * rates[follower] / rate
            price = min(offer, max(rules.reserve, needed))
        else:
            others = [other for other in order if other != candidate]
            without = _worth(others, offers, rates, rules)
            kept = _worth(order, offers, rates, rules) - rules.positions[position] * offer * rate
            gained = rules.positions[position] * rate
            price = min(offer, max(rules.reserve, (without - kept) / gained if gained > 0 else 0.0))
        placements.append(Placement(candidate, position, price))
    return placements


def _worth(order: Sequence[int], offers: Sequence[float], rates: Sequence[float], rules: Rules) -> float:
    return sum(
        effect * offers[candidate] * rates[candidate]
        for effect, candidate in zip(rules.positions, order, strict=False)
    )


def clear_by_definition(
    market: Market,
    bids: ArrayLike | None = None,
    budgets: ArrayLike | None = None,
    rules: Rules | None = None,
    *,
    seed: int | None = None,
) -> Outcome:
    """The same as `auctionlab.auction.clearing.clear`, slowly."""
    rules = rules or Rules()
    bid = market.bid if bids is None else np.asarray(bids, float)
    left = np.full(market.ads, np.inf) if budgets is None else np.array(budgets, float)
    outcome = Outcome.empty(market.hours, left)
    for index in range(market.auctions):
        rows = range(int(market.offsets[index]), int(market.offsets[index + 1]))
        offers = [min(float(bid[row]), float(outcome.left[market.ad[row]])) for row in rows]
        for placement in auction(offers, [float(market.click[row]) for row in rows], rules):
            row = rows[placement.candidate]
            who, when = int(market.ad[row]), int(market.hour[index])
            chance = float(market.click[row]) * rules.positions[placement.position]
            if seed is None:
                clicked, bought = chance, chance * float(market.conversion[row])
            else:
                number = market.first + index
                clicked = float(uniform(seed, number, who, CLICK) < chance)
                bought = clicked * float(uniform(seed, number, who, PURCHASE) < market.conversion[row])
            outcome.impressions[when, who] += 1
            outcome.top[when, who] += placement.position == 0
            outcome.clicks[when, who] += clicked
            outcome.cost[when, who] += clicked * placement.price
            outcome.conversions[when, who] += bought
            outcome.gmv[when, who] += bought * float(market.price[row])
            outcome.left[who] -= clicked * placement.price
    return outcome
