from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from auctionlab.market.market import Market
from auctionlab.market.traffic import WEEK
from auctionlab.market.world import World

SMALL = World(auctions=4_800)


def levels(market: Market, step: np.ndarray, count: int) -> np.ndarray:
    """Mean of the true over the predicted conversion rate in each step."""
    ratio = market.conversion / market.predicted
    where = np.repeat(step, np.diff(market.offsets))
    return np.bincount(where, ratio, minlength=count) / np.bincount(where, minlength=count)


def test_the_same_seed_is_the_same_day_and_others_are_not() -> None:
    first, again, other = SMALL.day(1), SMALL.day(1), SMALL.day(2)
    assert np.array_equal(first.bid, again.bid) and np.array_equal(first.conversion, again.conversion)
    assert not np.array_equal(first.bid, other.bid)


def test_hours_have_their_share_of_the_traffic() -> None:
    share = np.bincount(SMALL.day(1).hour, minlength=24) / 4_800
    np.testing.assert_allclose(share, SMALL.traffic, atol=1 / 4_800 + 1e-9)
    assert all(len(day) == 24 and abs(sum(day) - 1) < 1e-3 for day in WEEK)


def test_bursts_come_in_the_same_order_or_elsewhere() -> None:
    def steps(market: Market) -> np.ndarray:
        return levels(market, np.arange(4_800) // 40, 120)

    fixed = replace(SMALL, bursts_move=False, level_noise=0.0)
    moving = replace(SMALL, level_noise=0.0)
    together = np.corrcoef(steps(fixed.day(1)), steps(fixed.day(2)))[0, 1]
    apart = np.corrcoef(steps(moving.day(1)), steps(moving.day(2)))[0, 1]
    assert together > 0.95
    assert apart < 0.6


def test_balanced_bursts_leave_hours_as_they_are() -> None:
    def spread(world: World) -> float:
        days = [
            levels(replace(world, level_noise=0.0).day(seed), world.day(seed).hour, 24) for seed in (1, 2)
        ]
        return float(np.abs(days[0] / days[1] - 1).mean())

    # 12 segments do not divide every hour's auctions evenly; a few per cent remain.
    assert spread(SMALL) < 0.06 < 0.12 < spread(replace(SMALL, balanced=False))


def test_eta_is_how_far_an_hour_is_off() -> None:
    quiet = replace(SMALL, burst=1.0, auctions=24_000)
    usual = levels(replace(quiet, level_noise=0.0).day(1), quiet.day(1).hour, 24)
    off = [
        np.log(levels(replace(quiet, level_noise=0.2).day(seed), quiet.day(1).hour, 24) / usual)
        for seed in range(8)
    ]
    assert 0.15 < np.std(off) < 0.25


def test_a_prediction_that_sees_the_hour_knows_its_level() -> None:
    seeing = replace(SMALL, sees_hour=True, level_noise=0.0, burst=1.0).day(1)
    np.testing.assert_allclose(seeing.conversion, seeing.predicted)


def test_candidates_are_some_of_the_keywords_pool() -> None:
    market = World(ads=50, candidates=6, auctions=500, keywords=5).day(1)
    assert (np.diff(market.offsets) == 6).all()
    for word in range(5):
        assert np.unique(market.ad[market.keyword_of_candidate == word]).size <= 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ads": 0}, "ads must be at least 1"),
        ({"auctions": -1}, "auctions must be at least 0"),
        ({"candidates": 10}, "candidates must lie between 1 and the 9 ads"),
        ({"traffic": ()}, "traffic must give"),
        ({"traffic": (0.5, -0.1)}, "traffic must give"),
        ({"level_noise": -1.0}, "level_noise must lie between 0 and 5"),
        ({"price": float("nan")}, "price must lie between 0"),
        ({"burst_share": 0.0}, "burst_share must lie between 0 and 1"),
        ({"burst": 5.0}, "burst times burst_share must stay below 1"),
    ],
)
def test_worlds_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        World(**changes)


def test_a_day_of_no_auctions() -> None:
    assert World(auctions=0).day(1).auctions == 0
