from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from auctionlab.auction.mechanism import Rules
from auctionlab.environments.competition import Competition
from auctionlab.environments.contest import Contest, Contestants
from auctionlab.environments.hourly import HourlyBidding
from auctionlab.environments.rewards import mixed
from auctionlab.market.fidelity import Fidelity
from auctionlab.market.world import World

WORLD = World(auctions=1_200, ads=5)
DAYS = [WORLD.day(seed) for seed in (1, 2)]
RULES = Rules(positions=(1.0, 0.7, 0.5))
THREE = Contestants((0, 2, 3), (40.0, np.inf, 30.0, 20.0, np.inf))


@pytest.mark.filterwarnings("ignore")
def test_pettingzoos_own_checkers_accept_it() -> None:
    parallel_api_test(Competition(DAYS, THREE, rules=RULES), num_cycles=60)
    parallel_seed_test(lambda: Competition(DAYS, THREE, rules=RULES), num_cycles=30)


def test_one_contestant_is_the_hourly_environment() -> None:
    alone = Contestants((0,), (40.0, *[np.inf] * 4))
    contest = Contest(DAYS, alone, rules=RULES, grid=[0.5, 1.0, 2.0])
    environment = HourlyBidding(DAYS, budget=40.0, rules=RULES, grid=[0.5, 1.0, 2.0])
    contest.begin(1)
    environment.reset(options={"day": 1})
    for action in [0, 2, 1, 1, 0]:
        _, _, gain = contest.step(np.array([action]))
        *_, info = environment.step(action)
        assert gain[0] == pytest.approx(info["gain"])
        assert contest.outcome.left[0] == pytest.approx(environment._day.status.left)


def test_rewards_are_mixed_as_cooperation_says() -> None:
    own = np.array([1.0, 2.0, 6.0])
    np.testing.assert_allclose(mixed(own, 0.5), [2.0, 2.5, 4.5])
    contests = [Contest(DAYS, replace(THREE, cooperation=weight), rules=RULES) for weight in (0.0, 1.0)]
    actions = np.array([20, 30, 25])
    (_, selfish, _), (_, common, _) = (contest.step(actions) for contest in contests)
    np.testing.assert_allclose(common, selfish.mean())
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        mixed(own, 1.5)


def test_infos_add_up_to_the_day() -> None:
    game = Competition(DAYS, THREE, rules=RULES)
    game.reset(seed=1, options={"day": 0})
    revenue = 0.0
    while game.agents:
        *_, infos = game.step(dict.fromkeys(game.agents, 25))
        revenue += infos["ad_0"]["revenue"]
    assert revenue == pytest.approx(game.contest.outcome.revenue)
    with pytest.raises(RuntimeError, match="the day is over"):
        game.step({})


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"ad_0": 1, "ad_2": 1}, "no action for ad_3"),
        ({"ad_0": 1, "ad_2": 1, "ad_3": 1, "ad_9": 1}, "there is no agent ad_9"),
        ({"ad_0": 1, "ad_2": 99, "ad_3": 1}, "indexes from 0 to 40"),
        ({"ad_0": 1, "ad_2": -1, "ad_3": 1}, "indexes from 0 to 40"),
    ],
)
def test_actions_that_cannot_be(actions: dict[str, int], message: str) -> None:
    game = Competition(DAYS, THREE, rules=RULES)
    game.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        game.step(actions)


@pytest.mark.parametrize(
    ("contestants", "message"),
    [
        (Contestants((), THREE.budgets), "at least one ad"),
        (Contestants((0, 0), THREE.budgets), "none of them twice"),
        (Contestants((0, 7), THREE.budgets), "there is no ad 7"),
        (Contestants((0, 1), (1.0,)), "there are 5 ads but 1 budgets"),
        (Contestants((0, 1), (1.0, -1.0, 1.0, 1.0, 1.0)), "a budget must be 0 or more"),
    ],
)
def test_contestants_that_cannot_be(contestants: Contestants, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Contest(DAYS, contestants)


def test_days_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one day"):
        Contest([], THREE)
    with pytest.raises(ValueError, match="the same ads and hours"):
        Contest([DAYS[0], World(auctions=100, ads=6).day(1)], THREE)
    price_log = replace(DAYS[0], fidelity=Fidelity.MARKET_PRICE)
    with pytest.raises(ValueError, match="this log is market-price: choose one ad, or fit a World"):
        Contest([price_log], THREE)


def test_observations_stay_finite_when_money_and_clicks_are_gone() -> None:
    broke = Contestants((0, 1), (100.0, 0.0, np.inf, np.inf, np.inf))
    contest: Any = Contest(DAYS, broke, rules=RULES)
    while not contest.over:
        observations, rewards, _ = contest.step(np.array([40, 40]))
        assert np.isfinite(observations).all() and np.isfinite(rewards).all()
    assert contest.exhausted.all()
