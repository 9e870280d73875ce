"""Deviations against days whose best response is known by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from auctionlab.auction.mechanism import Rules
from auctionlab.evolution.equilibrium import as_played, bids, deviations
from auctionlab.evolution.objectives import Advertiser
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.trained import Game, Trained
from auctionlab.market.market import Market

EACH = 50
"""Auctions an hour, each with half a click."""


def day(worth: Sequence[float], rival: float) -> Market:
    """Hours in which a click is truly worth so much to ad 0, which sees 4 at all times; ad 1 sees `rival`."""
    hours = len(worth)
    count = hours * EACH
    true = np.repeat(worth, EACH)
    return Market.of(
        offsets=np.arange(count + 1) * 2,
        ad=np.tile([0, 1], count),
        click=np.full(2 * count, 0.5),
        conversion=np.stack([true / 100, np.full(count, rival / 100)], axis=1).ravel(),
        predicted=np.tile([0.04, rival / 100], count),
        price=np.full(2 * count, 100.0),
        hour=np.repeat(np.arange(hours), EACH),
        hours=hours,
        ads=2,
    )


def truth(market: Market, advertisers: Sequence[Advertiser]) -> Trained:
    """Everyone bids what it sees, as if that had been learned."""
    policies = Policies.of(market, advertisers)
    theta = np.full((2, 1, 3), -12.0)
    theta[:, :, 1] = 0.0
    return Trained(Game(rules=Rules(positions=(1.0,))), policies, theta, (), np.zeros(2), "")


def test_the_plan_leaves_hours_that_do_not_pay() -> None:
    # At 3 a click the first hour loses 1 a click and the second gains 5; no one factor can tell them apart.
    market, who = day([2.0, 8.0], 3.0), [Advertiser(), Advertiser()]
    found = deviations(truth(market, who), market, market, who)
    assert found.plan[0] == pytest.approx(25 * 1.0 / (25 * 5.0 - 25 * 1.0), rel=1e-3)
    assert found.scaling[0] == pytest.approx(0.0, abs=1e-3)
    assert found.best[0] == found.plan[0]


def test_the_plan_keeps_money_for_the_better_hours() -> None:
    # Money for two hours of three: truth spends it in the first two, the plan in the first and the third.
    market, who = day([8.0, 6.0, 7.0], 3.0), [Advertiser(budget=2 * 25 * 3.0), Advertiser()]
    found = deviations(truth(market, who), market, market, who)
    usual = 25 * (5.0 + 3.0)
    assert found.plan[0] == pytest.approx((25 * (5.0 + 4.0) - usual) / usual, rel=0.05)


def test_rivals_bid_no_more_than_they_have_left() -> None:
    # The rival wins at 4 a click until its money does not reach for more, which is in the first hour.
    market, who = day([5.0, 5.0, 5.0], 5.0), [Advertiser(), Advertiser(budget=4 * 20.0)]
    trained = truth(market, who)
    seen = as_played(trained, market, np.array([np.inf, 80.0]))
    given = bids(trained, market)
    rival, later = market.ad == 1, np.repeat(market.hour, 2) > 0
    assert (seen.bid[rival & later] < 4).all() and (given[rival] > 5).all()
    np.testing.assert_array_equal(seen.bid[~(rival & later)], given[~(rival & later)])
