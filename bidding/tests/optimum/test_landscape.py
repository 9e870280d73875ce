from __future__ import annotations

import numpy as np
import pytest

from auctionlab.auction.mechanism import Rules
from auctionlab.market.world import World
from auctionlab.optimum.dual import dual
from auctionlab.optimum.landscape import landscape, spending_multiplier
from auctionlab.optimum.plan import plan
from auctionlab.optimum.program import program

DAY = World(auctions=3_000).day(1)
RULES = Rules(positions=(1.0, 0.7, 0.5))


def test_the_spending_multiplier_just_spends() -> None:
    multiplier = spending_multiplier(DAY, 0, 100.0, RULES)
    at, below = (
        float(landscape(DAY, 0, factor * multiplier, RULES).cost.sum()) for factor in (1.0, 1 - 1e-9)
    )
    assert below < 100.0 <= at < 100.5


def test_a_budget_that_no_multiplier_spends() -> None:
    with pytest.raises(ValueError, match="no multiplier spends 1e\\+09: at most"):
        spending_multiplier(DAY, 0, 1e9, RULES)
    with pytest.raises(ValueError, match="must be above 0"):
        spending_multiplier(DAY, 0, 0.0, RULES)


def test_costs_rise_with_the_multiplier() -> None:
    responses = landscape(DAY, 0, np.linspace(0.1, 3, 20), RULES)
    assert (np.diff(responses.cost, axis=1) >= -1e-9).all()
    assert responses.hours == 24


def test_a_plan_follows_the_better_hours() -> None:
    responses = landscape(DAY, 0, np.linspace(0.2, 3, 15), RULES)
    budget = float(responses.cost[:, 7].sum()) / 2
    made = plan(responses, budget)
    assert made.values[0, -1] > 0
    assert made.choice(0, budget) in range(15)
    assert made.choice(3, -1.0) == made.choice(3, 0.0)
    assert (np.diff(made.values, axis=1) >= -1e-9).all()


@pytest.mark.parametrize(("budget", "levels"), [(0.0, 10), (np.inf, 10), (np.nan, 10), (1.0, 1)])
def test_plans_that_cannot_be(budget: float, levels: int) -> None:
    with pytest.raises(ValueError, match="a plan needs"):
        plan(landscape(DAY, 0, [0.5, 1.0], RULES), budget, levels=levels)


def test_budgets_and_limits_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="the budget must be 0 or more"):
        dual(DAY, 0, -1.0, RULES)
    with pytest.raises(ValueError, match="the budget must be 0 or more"):
        program(DAY, 0, float("nan"), RULES)
    with pytest.raises(ValueError, match="the limit on the price"):
        program(DAY, 0, 1.0, RULES, ppc_limit=-1.0)
    with pytest.raises(ValueError, match="there is no ad 99"):
        dual(DAY, 99, 1.0, RULES)


def test_no_money_gains_what_is_free() -> None:
    assert dual(DAY, 0, 0.0, Rules(positions=(1.0,), reserve=0.01)).bound == pytest.approx(0.0, abs=1e-6)
