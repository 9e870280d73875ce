from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.markets import mechanisms, random_budgets, random_market, rules, seeds, styles

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.auction.population import Unit, clear_population
from auctionlab.market.market import Market


def weights_of(market: Market, seed: int, profiles: int = 3, parts: int = 2) -> np.ndarray:
    chance = np.random.default_rng([seed, 2])
    return chance.lognormal(0, 1, (profiles, market.ads, parts, 3)) * chance.integers(0, 2, 3)


def bids_by_definition(market: Market, weights: np.ndarray, units: np.ndarray) -> np.ndarray:
    """The affine bids (E,) of one profile, candidate by candidate."""
    bids = np.zeros(market.candidates)
    for auction in range(market.auctions):
        part = int(market.hour[auction]) * weights.shape[1] // market.hours
        for row in range(market.offsets[auction], market.offsets[auction + 1]):
            worth = market.predicted[row] * market.price[row]
            own = {Unit.CLICK: 1.0, Unit.CONVERSION: market.predicted[row], Unit.WORTH: worth}[
                Unit(units[market.ad[row]])
            ]
            first, second, third = weights[market.ad[row], part]
            bids[row] = first * own + second * worth + third
    return bids


@given(seeds, styles, rules(), st.booleans())
def test_every_profile_is_a_day_of_its_own(seed: int, style: str, given_rules: Rules, drawn: bool) -> None:
    market = random_market(seed, style)
    units = np.random.default_rng(seed).integers(0, 3, market.ads)
    budgets, weights = random_budgets(market, seed), weights_of(market, seed)
    chance = 5 if drawn else None
    sums = clear_population(market, weights, units, budgets, given_rules, seed=chance)
    for profile, own in zip(sums, weights, strict=True):
        bids = bids_by_definition(market, own, units)
        outcome = clear(market, bids, budgets, rules=given_rules, seed=chance)
        np.testing.assert_allclose(profile, outcome.sums.sum(axis=0), rtol=1e-9, atol=1e-12)


@given(seeds, mechanisms)
def test_threads_change_nothing(seed: int, mechanism: object) -> None:
    market = random_market(seed, auctions=60)
    units, budgets = np.full(market.ads, 2), random_budgets(market, seed)
    weights = weights_of(market, seed, profiles=7)
    found = [
        clear_population(market, weights, units, budgets, Rules(), threads=threads) for threads in (1, 2, 4)
    ]
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_long_days_are_cut_into_stretches_without_a_trace() -> None:
    market = random_market(3, auctions=5_000)
    units, budgets = np.full(market.ads, 2), np.full(market.ads, 40.0)
    weights = np.zeros((1, market.ads, 1, 3))
    weights[..., 1] = 0.8
    sums = clear_population(market, weights, units, budgets, Rules())
    whole = clear(market, 0.8 * (market.predicted * market.price), budgets, rules=Rules())
    np.testing.assert_allclose(sums[0], whole.sums.sum(axis=0), rtol=1e-9)


def test_what_does_not_fit_is_named() -> None:
    market = random_market(1)
    units, budgets = np.full(market.ads, 2), np.full(market.ads, np.inf)
    fitting = np.ones((1, market.ads, 1, 3))
    with pytest.raises(ValueError, match=r"weights must have the shape \(P, 6, D, 3\)"):
        clear_population(market, fitting[:, 1:], units, budgets, Rules())
    with pytest.raises(ValueError, match="weights must be 0 or more, and finite"):
        clear_population(market, fitting * np.nan, units, budgets, Rules())
    with pytest.raises(ValueError, match="weights must be 0 or more, and finite"):
        clear_population(market, -fitting, units, budgets, Rules())
    with pytest.raises(ValueError, match=r"units and budgets must have the shape \(6,\)"):
        clear_population(market, fitting, units[1:], budgets, Rules())
    with pytest.raises(ValueError, match="at least one thread"):
        clear_population(market, fitting, units, budgets, Rules(), threads=0)
