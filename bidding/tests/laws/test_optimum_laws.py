"""Bounds bound, plans are optimal, and what is equal is equal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.markets import mechanisms, random_market, rules, seeds, styles

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.bids.signals import Signal
from auctionlab.environments.rewards import Shaping
from auctionlab.optimum.dual import dual
from auctionlab.optimum.landscape import Landscape, landscape
from auctionlab.optimum.plan import Plan, plan
from auctionlab.optimum.program import program


@settings(max_examples=60)
@given(
    seed=seeds,
    style=styles,
    given_rules=rules(),
    chance=st.none() | st.integers(0, 2**40),
    signal=st.sampled_from(Signal),
)
def test_responses_are_what_the_core_says(
    seed: int, style: str, given_rules: Rules, chance: int | None, signal: Signal
) -> None:
    market = random_market(seed, style)
    grid = np.array([0.3, 1.0, 2.5])
    responses = landscape(market, 0, grid, given_rules, signal=signal, seed=chance)
    for place, multiplier in enumerate(grid):
        bids = np.array(market.bid)
        own = market.rows_of(0)
        bids[own] = multiplier * signal.of(market)[own]
        outcome = clear(market, bids, rules=given_rules, seed=chance)
        for name, table in (("cost", responses.cost), ("gmv", responses.gain), ("clicks", responses.clicks)):
            expected = getattr(outcome, name)[:, 0]
            np.testing.assert_allclose(table[:, place], expected, rtol=1e-9, atol=1e-25)


@settings(max_examples=60)
@given(seed=seeds, mechanism=mechanisms, share=st.floats(0.05, 0.95))
def test_no_bidding_gains_more_than_the_bound(seed: int, mechanism: Mechanism, share: float) -> None:
    market, given_rules = random_market(seed, auctions=40), Rules(mechanism, (1.0, 0.6, 0.3), 0.1)
    unlimited = clear(market, rules=given_rules).cost[:, 0].sum()
    budget = max(float(unlimited) * share, 1e-6)
    bound = dual(market, 0, budget, given_rules)
    chance = np.random.default_rng(seed)
    own = market.rows_of(0)
    for _ in range(10):
        bids = np.array(market.bid)
        bids[own] = chance.lognormal(0, 1, own.size)
        budgets = np.full(market.ads, np.inf)
        budgets[0] = budget
        outcome = clear(market, bids, budgets, given_rules)
        assert outcome.gmv[:, 0].sum() <= bound.bound * (1 + 1e-9) + 1e-12


@settings(max_examples=25)
@given(seed=seeds, given_rules=rules(), share=st.floats(0.05, 1.5))
def test_the_bound_is_the_linear_program(seed: int, given_rules: Rules, share: float) -> None:
    market = random_market(seed, auctions=40)
    budget = float(clear(market, rules=given_rules).cost[:, 0].sum()) * share
    bound, solution = dual(market, 0, budget, given_rules), program(market, 0, budget, given_rules)
    assert solution.gain == pytest.approx(bound.bound, rel=1e-6, abs=1e-9)
    assert solution.cost <= budget * (1 + 1e-6) + 1e-9


def test_a_limit_on_the_price_of_a_click_holds_and_costs_gain() -> None:
    market, given_rules = random_market(3, auctions=60), Rules()
    free = program(market, 0, 5.0, given_rules)
    limit = 0.6 * free.cost / free.clicks
    held = program(market, 0, 5.0, given_rules, ppc_limit=limit)
    assert held.cost <= limit * held.clicks * (1 + 1e-6)
    assert held.gain < free.gain
    assert held.price_of_limit > 0


def random_landscape(seed: int) -> Landscape:
    chance = np.random.default_rng(seed)
    cost = np.cumsum(chance.random((5, 4)), axis=1)
    return Landscape(np.arange(1.0, 5.0), cost, np.cumsum(chance.random((5, 4)), axis=1), cost)


def follow(responses: Landscape, chosen: list[int], budget: float) -> float:
    left, gain = budget, 0.0
    for hour, action in enumerate(chosen):
        share = min(1.0, left / responses.cost[hour, action])
        gain += share * responses.gain[hour, action]
        left -= share * responses.cost[hour, action]
    return gain


@given(seed=seeds, budget=st.floats(0.5, 10))
def test_the_plan_is_at_least_any_fixed_sequence(seed: int, budget: float) -> None:
    responses = random_landscape(seed)
    best = plan(responses, budget, levels=4001).values[0, -1]
    chance = np.random.default_rng(seed)
    sequences = [[action] * 5 for action in range(4)] + [list(chance.integers(4, size=5)) for _ in range(20)]
    for chosen in sequences:
        assert best >= follow(responses, chosen, budget) - 2e-3


@given(seed=seeds, budget=st.floats(0.5, 10))
def test_the_plan_reaches_what_it_promises(seed: int, budget: float) -> None:
    responses = random_landscape(seed)
    made: Plan = plan(responses, budget, levels=4001)
    left, gain = budget, 0.0
    for hour in range(5):
        action = made.choice(hour, left)
        share = min(1.0, left / responses.cost[hour, action])
        gain += share * responses.gain[hour, action]
        left = max(left - share * responses.cost[hour, action], 0.0)
    assert gain == pytest.approx(made.values[0, -1], abs=0.02)


@given(seed=seeds, price=st.floats(0, 3), budget=st.floats(0.5, 10))
def test_shaping_changes_no_total(seed: int, price: float, budget: float) -> None:
    """The shaped rewards of any day sum to its gain less a constant: so the best policies stay the best."""
    responses, shaping = random_landscape(seed), Shaping(price)
    chance = np.random.default_rng(seed)
    for _ in range(5):
        left, gain, shaped = budget, 0.0, 0.0
        for hour, action in enumerate(chance.integers(4, size=5)):
            share = min(1.0, left / responses.cost[hour, action])
            earned = share * responses.gain[hour, action]
            after = max(left - share * responses.cost[hour, action], 0.0)
            shaped += shaping.reward(earned, left, after, hour == 4)
            gain, left = gain + earned, after
        assert shaped == pytest.approx(gain - price * budget)


def test_bounds_are_refused_where_rivals_may_run_out_of_money() -> None:
    market = random_market(5)
    budgets = np.full(market.ads, np.inf)
    dual(market, 0, 1.0, budgets=budgets)
    budgets[2] = 1e-3
    with pytest.raises(ValueError, match=r"the budget of ad 2 .* may run out"):
        dual(market, 0, 1.0, budgets=budgets)
    with pytest.raises(ValueError, match="may run out"):
        program(market, 0, 1.0, budgets=budgets)
