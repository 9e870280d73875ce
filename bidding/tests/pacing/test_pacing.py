from __future__ import annotations

import math

import numpy as np
import pytest

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.bids.signals import Signal
from auctionlab.market.world import World
from auctionlab.optimum.landscape import Landscape, landscape, spending_multiplier
from auctionlab.optimum.plan import plan
from auctionlab.pacing.constant import Constant
from auctionlab.pacing.day import BiddingDay
from auctionlab.pacing.dual_descent import DualDescent
from auctionlab.pacing.pid import PID
from auctionlab.pacing.planned import Planned
from auctionlab.pacing.policy import Hour, Policy, Status
from auctionlab.pacing.schedule import Paced, spending_path
from auctionlab.pacing.water_level import WaterLevel

DAY = World(auctions=3_000).day(1)
RULES = Rules(positions=(1.0, 0.7, 0.5))


def status(hour: int = 0, left: float = 1.0, cost: float = 0.0) -> Status:
    return Status(hour, 4, left, 1.0, Hour(cost=cost), 1.0)


def test_a_constant_day_is_one_clearing() -> None:
    bids = np.array(DAY.bid)
    own = DAY.rows_of(0)
    bids[own] = 0.8 * Signal.MODEL.of(DAY)[own]
    budgets = np.full(DAY.ads, math.inf)
    budgets[0] = 50.0
    whole = clear(DAY, bids, budgets, RULES)
    followed = BiddingDay(DAY, 0, rules=RULES).follow(Constant(0.8), 50.0)
    assert np.array_equal(whole.cost, followed.cost) and np.array_equal(whole.left, followed.left)


def test_a_day_can_be_begun_again() -> None:
    day = BiddingDay(DAY, 0, rules=RULES)
    first = day.follow(Constant(0.8), 50.0).of(0)
    day.follow(Constant(2.0), 10.0)
    assert day.follow(Constant(0.8), 50.0).of(0) == first


def test_a_day_that_is_over_and_bids_that_cannot_be() -> None:
    day = BiddingDay(DAY, 0, rules=RULES)
    day.begin(5.0)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="a multiplier must be 0 or more and finite"):
            day.bid(wrong)
    day.follow(Constant(1.0), 5.0)
    with pytest.raises(RuntimeError, match="the day is over"):
        day.bid(1.0)
    with pytest.raises(ValueError, match="the budget must be 0 or more"):
        day.begin(-1.0)
    with pytest.raises(ValueError, match="rivals must have the shape"):
        BiddingDay(DAY, 0, rivals=[1.0])


def test_no_money_wins_nothing() -> None:
    assert BiddingDay(DAY, 0, rules=RULES).follow(Constant(1.0), 0.0).of(0)["impressions"] == 0


def test_the_schedule_answers_to_the_money() -> None:
    paced = Paced(2.0, (1.0, 0.5, 0.25, 0.1, 0.0), strength=1.0, most=3.0)
    assert paced.multiplier(status(0, 1.0)) == 2.0
    assert paced.multiplier(status(1, 0.75)) == pytest.approx(3.0)
    assert paced.multiplier(status(1, 0.25)) == pytest.approx(1.0)
    assert paced.multiplier(status(3, 1.0)) == pytest.approx(6.0)
    assert Paced(2.0, (1.0, 0.5), strength=0.0).multiplier(status(1, 0.1)) == 2.0


def test_the_spending_path_is_money_left() -> None:
    cost = np.array([[1.0, 3.0], [3.0, 5.0]])
    responses = Landscape(np.array([1.0, 2.0]), cost, cost, cost)
    np.testing.assert_allclose(spending_path(responses, 1.5), [1.0, 1 - 2 / 6, 0.0])


def test_pid_by_its_equation_and_forgets_the_day() -> None:
    pid = PID(1.0, (1.0, 0.8, 0.6, 0.4, 0.2), proportional=1.0, integral=0.5, derivative=2.0)
    pid.begin()
    assert pid.multiplier(status(0, 1.0)) == 1.0
    assert pid.multiplier(status(1, 0.9)) == pytest.approx(math.exp(0.1 + 0.05 + 0.2))
    assert pid.multiplier(status(2, 0.5)) == pytest.approx(math.exp(-0.1 + 0.0 - 0.4))
    pid.begin()
    assert pid.multiplier(status(0, 1.0)) == 1.0


def test_dual_descent_raises_the_price_of_money_after_spending_too_much() -> None:
    descent = DualDescent(2.0, step=0.1)
    descent.begin()
    assert descent.multiplier(status(0)) == pytest.approx(2.0)
    assert descent.multiplier(status(1, cost=0.5)) == pytest.approx(2.0 * math.exp(-0.1))
    assert descent.multiplier(status(2, cost=0.0)) == pytest.approx(2.0)


def test_the_water_level_spends_what_is_left_on_the_known_day() -> None:
    cost = np.array([[1.0, 2.0], [1.0, 4.0]])
    level = WaterLevel(Landscape(np.array([1.0, 2.0]), cost, cost, cost))
    assert level.multiplier(Status(0, 2, 4.0, 4.0, Hour(), 0.0)) == pytest.approx(1.5)
    assert level.multiplier(Status(1, 2, 4.0, 4.0, Hour(), 0.0)) == pytest.approx(2.0)


def test_every_policy_keeps_to_the_budget_and_the_plan_is_best_on_its_day() -> None:
    budget = 150.0
    center = spending_multiplier(DAY, 0, budget, RULES)
    responses = landscape(DAY, 0, np.geomspace(center / 3, center * 3, 41), RULES)
    path = spending_path(responses, center)
    policies: dict[str, Policy] = {
        "constant": Constant(center),
        "paced": Paced(center, path),
        "pid": PID(center, path),
        "dual": DualDescent(center),
        "water": WaterLevel(responses),
        "plan": Planned(plan(responses, budget)),
    }
    day = BiddingDay(DAY, 0, rules=RULES)
    gains = {}
    for name, policy in policies.items():
        got = day.follow(policy, budget).of(0)
        assert got["cost"] <= budget * (1 + 1e-12)
        assert got["cost"] > 0.6 * budget
        gains[name] = got["gmv"]
    assert gains["plan"] == max(gains.values())
