from __future__ import annotations

import numpy as np
import pytest

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.bids.signals import bids_by_keyword, keyword_bids
from auctionlab.evaluation.comparison import KeywordBidding, estimate, paired
from auctionlab.evaluation.tables import percent, table
from auctionlab.market.world import World

DAY = World(auctions=2_000).day(1)
RULES = Rules(positions=(1.0, 0.7, 0.5))
KEYWORD = keyword_bids(DAY, 0)


def scaled(factor: float) -> dict[str, float]:
    return clear(DAY, bids_by_keyword(DAY, 0, KEYWORD * factor), rules=RULES).of(0)


def test_the_yardstick_is_what_the_core_says() -> None:
    yardstick = KeywordBidding(DAY, 0, KEYWORD, RULES)
    assert yardstick.cost == pytest.approx(scaled(1.0)["cost"])
    assert yardstick.gain == pytest.approx(scaled(1.0)["gmv"])


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.3])
def test_scaled_bids_gain_nothing_over_themselves(factor: float) -> None:
    yardstick, got = KeywordBidding(DAY, 0, KEYWORD, RULES), scaled(factor)
    assert yardstick.gain_at(got["cost"]) == pytest.approx(got["gmv"], rel=1e-6)
    assert yardstick.relative_gain(got["gmv"], got["cost"]) == pytest.approx(0.0, abs=1e-4)
    assert yardstick.relative_gain(1.1 * got["gmv"], got["cost"]) == pytest.approx(10.0, abs=1e-3)


def test_between_two_costs_it_is_a_mixture() -> None:
    yardstick = KeywordBidding(DAY, 0, KEYWORD, RULES)
    costs = np.linspace(0.5, 1.0, 9) * yardstick.cost
    gains = [yardstick.gain_at(cost) for cost in costs]
    assert (np.diff(gains) > 0).all()


def test_no_cost_has_no_gain_and_too_much_is_refused() -> None:
    yardstick = KeywordBidding(DAY, 0, KEYWORD, RULES)
    assert np.isnan(yardstick.relative_gain(0.0, 0.0))
    with pytest.raises(ValueError, match="cannot be scaled to cost"):
        yardstick.gain_at(1e12)


def test_an_estimate_by_hand() -> None:
    found = estimate([1.0, 2.0, 3.0, 6.0])
    assert found.mean == 3.0
    assert found.error == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)
    assert 1.0 <= found.low < 3.0 < found.high <= 6.0
    assert np.isnan(estimate([1.0]).error)
    assert paired([2.0, 3.0], [1.0, 1.0]).mean == 1.5
    with pytest.raises(ValueError, match="nothing to average"):
        estimate([])
    with pytest.raises(ValueError, match="as many of each"):
        paired([1.0], [])


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    found = [estimate(chance.normal(size=40).tolist(), draws=400) for _ in range(200)]
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.88 < covered < 0.99


def test_tables_line_up() -> None:
    assert table(["a", "bb"], [["ccc", "1"], ["d", "22"]]) == "a    bb\nccc   1\nd    22"
    assert percent(estimate([1.25])) == "+1.2"
    assert percent(estimate([1.0, 1.0])) == "+1.0 [+1.0, +1.0]"
