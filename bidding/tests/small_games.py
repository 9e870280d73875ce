"""Small games for tests."""

from __future__ import annotations

from auctionlab.auction.mechanism import Rules
from auctionlab.evolution.objectives import Advertiser, Objective
from auctionlab.evolution.trained import truthful
from auctionlab.market.market import Market
from auctionlab.market.world import World

RULES = Rules(positions=(1.0,))


def small_game(
    seed: int = 0, *, ads: int = 6, manual: int = 0, auctions: int = 800, rules: Rules = RULES
) -> tuple[list[Market], Market, list[Advertiser]]:
    """Training days, a day to judge on, and advertisers with 0.8 of what truth would cost."""
    world = World(ads=ads, auctions=auctions, keywords=5, seed=seed, burst=1.0)
    days, test = [world.day(1), world.day(2)], world.day(9)
    free = truthful(days[0], [Advertiser()] * ads, rules)
    advertisers = [
        Advertiser(Objective.PROFIT, budget=0.8 * float(free[ad, 3]), manual=ad < manual) for ad in range(ads)
    ]
    return days, test, advertisers
