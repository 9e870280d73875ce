from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.markets import random_market

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.market.market import Market

THREE = Market.of(
    offsets=[0, 3],
    ad=[0, 1, 2],
    click=[0.5, 0.4, 0.2],
    conversion=[0.1] * 3,
    price=[10.0] * 3,
    bid=[2.0, 2.0, 3.0],
)
TWO = (1.0, 0.5)


def test_an_auction_by_hand() -> None:
    """Scores 1.0, 0.8, 0.6; two positions; the prices by pencil."""
    second = clear(THREE, rules=Rules(Mechanism.GSP, TWO))
    np.testing.assert_allclose(second.clicks[0], [0.5, 0.4 * 0.5, 0])
    np.testing.assert_allclose(second.cost[0], [0.5 * (0.8 / 0.5), 0.2 * (0.6 / 0.4), 0])
    first = clear(THREE, rules=Rules(Mechanism.FIRST_PRICE, TWO))
    np.testing.assert_allclose(first.cost[0], [0.5 * 2, 0.2 * 2, 0])
    vcg = clear(THREE, rules=Rules(Mechanism.VCG, TWO))
    # The first takes half a position from the second and half from the third: 0.5 x 0.8 + 0.5 x 0.6.
    np.testing.assert_allclose(vcg.cost[0], [0.7, 0.5 * 0.6, 0])
    np.testing.assert_allclose(second.gmv[0], second.clicks[0] * 0.1 * 10)
    assert second.top[0].tolist() == [1, 0, 0]
    assert second.revenue == pytest.approx(1.1)
    assert second.welfare == pytest.approx(0.7)
    assert second.of(1)["clicks"] == pytest.approx(0.2)


def test_a_bid_is_capped_at_the_money_left() -> None:
    """With 0.9 left, ad 0's score falls to 0.45 and it comes last: it is not shown."""
    outcome = clear(THREE, None, [0.9, np.inf, np.inf], Rules(Mechanism.GSP, TWO))
    assert outcome.impressions[0].tolist() == [0, 1, 1]


def test_more_positions_than_candidates() -> None:
    outcome = clear(THREE, rules=Rules(positions=(1.0, 0.9, 0.8, 0.7, 0.6)))
    assert outcome.impressions.sum() == 3


def test_clicks_drawn_are_as_many_as_expected() -> None:
    count = 20_000
    market = Market.of(
        offsets=np.arange(count + 1), ad=np.zeros(count, int), click=0.3, conversion=0.2, price=2.0, bid=1.0
    )
    drawn = clear(market, rules=Rules(positions=(1.0,)), seed=3)
    assert abs(drawn.clicks.sum() / count - 0.3) < 0.01
    assert abs(drawn.conversions.sum() / count - 0.06) < 0.006
    assert drawn.gmv.sum() == 2 * drawn.conversions.sum()


def test_any_number_of_threads_gives_the_same_days() -> None:
    markets = [random_market(seed, auctions=200) for seed in range(6)]
    alone = [clear(market, seed=1) for market in markets]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda market: clear(market, seed=1), markets))
    assert all(np.array_equal(a.cost, b.cost) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bids": [1.0]}, r"bids must have the shape \(3,\)"),
        ({"bids": [1.0, -1.0, 1.0]}, "bids is -1.0 in row 1"),
        ({"bids": [1.0, np.nan, 1.0]}, "bids is nan in row 1"),
        ({"budgets": [1.0, 1.0]}, r"budgets must have the shape \(3,\)"),
        ({"budgets": [1.0, np.nan, 1.0]}, "budgets is nan in row 1"),
        ({"seed": -1}, "the seed must lie between 0 and"),
        ({"seed": 2**63}, "the seed must lie between 0 and"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clear(THREE, **arguments)


def test_budgets_and_an_outcome_to_go_on_from_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="not both"):
        clear(THREE, None, [1.0] * 3, into=Outcome.empty(1, np.ones(3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": ()}, "positions is empty"),
        ({"positions": (0.9, 0.5)}, "the first position's effect must be 1"),
        ({"positions": (1.0, 0.5, 0.6)}, "positions must not rise"),
        ({"positions": (1.0, -0.5)}, "positions must lie in"),
        ({"positions": (1.0, float("nan"))}, "positions must lie in"),
        ({"reserve": -1.0}, "the reserve must be a price of 0 or more"),
        ({"reserve": float("nan")}, "the reserve must be a price"),
    ],
)
def test_rules_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rules(**arguments)
