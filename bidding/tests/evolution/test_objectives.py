from __future__ import annotations

import numpy as np
import pytest
from tests.small_games import small_game

from auctionlab.auction.outcome import NAMES
from auctionlab.auction.population import Unit
from auctionlab.evolution.objectives import (
    Advertiser,
    Objective,
    ppc_excess,
    profit,
    reached,
    revenue,
    welfare,
)
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.trained import shares

SUMS = np.zeros((3, 6))
for place, values in enumerate(
    [
        {"clicks": 10.0, "cost": 20.0, "conversions": 2.0, "gmv": 50.0},
        {"clicks": 5.0, "cost": 5.0, "conversions": 1.0, "gmv": 4.0},
        {},
    ]
):
    for key, value in values.items():
        SUMS[place, NAMES.index(key)] = value


def test_what_is_wanted_is_what_was_reached() -> None:
    advertisers = [Advertiser(Objective.CLICKS), Advertiser(Objective.PROFIT), Advertiser(Objective.GMV)]
    assert reached(SUMS, advertisers).tolist() == [10.0, -1.0, 0.0]
    assert reached(SUMS, [Advertiser(Objective.CONVERSIONS)] * 3).tolist() == [2.0, 1.0, 0.0]
    assert profit(SUMS).tolist() == [30.0, -1.0, 0.0]
    assert float(revenue(SUMS)) == 25.0 and float(welfare(SUMS)) == 54.0


def test_the_price_of_a_click_over_its_limit() -> None:
    limited = [Advertiser(ppc_limit=1.6), Advertiser(ppc_limit=2.0), Advertiser(ppc_limit=3.0)]
    np.testing.assert_allclose(ppc_excess(SUMS, limited), [0.25, -0.5, -1.0])
    assert ppc_excess(SUMS, [Advertiser()] * 3).tolist() == [-1.0, -1.0, -1.0]


def test_shares_are_relative_to_truth() -> None:
    told = shares(SUMS, 2 * SUMS, [Advertiser(manual=True), Advertiser(), Advertiser()])
    assert (told.revenue, told.value, told.surplus, told.manual) == (0.5, 0.5, 0.5, 0.5)
    assert np.isnan(shares(SUMS, SUMS, [Advertiser()] * 3).manual)
    # Where truth earns nothing there is nothing to compare with, and no warning either.
    empty = shares(np.zeros((3, 6)), np.zeros((3, 6)), [Advertiser()] * 3)
    assert np.isnan([empty.revenue, empty.value, empty.surplus]).all()


@pytest.mark.parametrize("bad", [{"budget": -1.0}, {"budget": float("nan")}, {"ppc_limit": 0.0}])
def test_impossible_advertisers_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Advertiser(**bad)  # type: ignore[arg-type]


def test_policies_begin_near_truth() -> None:
    days, _, advertisers = small_game()
    policies = Policies.of(days[0], advertisers)
    weights = policies.weights(policies.truthful()[None])[0]
    market = days[0]
    worth = market.predicted * market.price
    bids = weights[market.ad, 0, 0] * worth + weights[market.ad, 0, 1] * worth + weights[market.ad, 0, 2]
    assert np.average(bids / worth) == pytest.approx(1.0, abs=0.01)


def test_units_and_scales_make_terms_comparable() -> None:
    days, _, _ = small_game(ads=3)
    market = days[0]
    advertisers = [Advertiser(Objective.CLICKS), Advertiser(Objective.CONVERSIONS), Advertiser(Objective.GMV)]
    policies = Policies.of(market, advertisers)
    assert policies.units.tolist() == [Unit.CLICK, Unit.CONVERSION, Unit.WORTH]
    for ad, own in enumerate([np.ones(market.candidates), market.predicted, market.predicted * market.price]):
        row = market.ad == ad
        worth = (market.predicted * market.price)[row].mean()
        assert policies.scale[ad, 0] * own[row].mean() == pytest.approx(worth)
        assert policies.scale[ad, 1] == 1.0 and policies.scale[ad, 2] == pytest.approx(worth)


def test_groups_share_weights_and_manual_ads_tell_the_truth() -> None:
    days, _, advertisers = small_game(manual=2)
    policies = Policies.of(days[0], advertisers, groups=[0, 0, 7, 7, 3, 3])
    assert policies.groups.tolist() == [-1, -1, 1, 1, 0, 0] and policies.count == 2
    theta = np.random.default_rng(0).normal(size=(1, 2, 1, 3))
    weights = policies.weights(theta)[0] / policies.scale[:, None]
    np.testing.assert_array_equal(weights[2], weights[3])
    assert weights[:2].tolist() == [[[0.0, 1.0, 0.0]]] * 2


def test_what_policies_refuse() -> None:
    days, _, advertisers = small_game()
    with pytest.raises(ValueError, match="6 ads, but there are 5 advertisers"):
        Policies.of(days[0], advertisers[1:])
    with pytest.raises(ValueError, match="all advertisers are manual"):
        Policies.of(days[0], [Advertiser(manual=True)] * 6)
    with pytest.raises(ValueError, match=r"groups must have the shape \(6,\)"):
        Policies.of(days[0], advertisers, groups=[0, 1])
    with pytest.raises(ValueError, match="mixes the objectives"):
        Policies.of(days[0], [Advertiser(Objective.CLICKS), *advertisers[1:]], groups=[0] * 6)
    with pytest.raises(ValueError, match="at least one part"):
        Policies.of(days[0], advertisers, parts=0)
