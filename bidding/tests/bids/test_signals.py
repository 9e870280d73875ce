from __future__ import annotations

import numpy as np
import pytest

from auctionlab.bids.grid import around, checked, geometric
from auctionlab.bids.signals import Signal, bids_by_keyword, keyword_bids
from auctionlab.market.market import Market

MARKET = Market.of(
    offsets=[0, 2, 4, 5],
    ad=[0, 1, 0, 1, 1],
    click=[0.1, 0.2, 0.3, 0.4, 0.5],
    conversion=[0.5] * 5,
    predicted=[0.2, 0.1, 0.4, 0.3, 0.6],
    price=[10.0] * 5,
    bid=[1.0, 2.0, 3.0, 4.0, 5.0],
    keyword=[0, 0, 2],
)


def test_signals() -> None:
    np.testing.assert_allclose(Signal.MODEL.of(MARKET), [2, 1, 4, 3, 6])
    assert Signal.FLAT.of(MARKET).tolist() == [1] * 5
    assert Signal.STANDING.of(MARKET).tolist() == [1, 2, 3, 4, 5]


def test_a_keywords_bid_is_the_mean_value_of_its_clicks() -> None:
    bids = keyword_bids(MARKET, 0)
    np.testing.assert_allclose(bids, [(0.1 * 2 + 0.3 * 4) / 0.4])
    np.testing.assert_allclose(bids_by_keyword(MARKET, 0, bids), [bids[0], 2, bids[0], 4, 5])
    np.testing.assert_allclose(keyword_bids(MARKET, 1), [(0.2 + 1.2) / 0.6, 0, 6])


def test_keywords_that_a_table_does_not_know_get_nothing() -> None:
    assert bids_by_keyword(MARKET, 1, np.array([7.0])).tolist() == [1, 7, 3, 7, 0]


def test_grids() -> None:
    np.testing.assert_allclose(around(2.0, 3.0, 3), [2 / 3, 2, 6])
    assert around(2.0).size == 41 and around(2.0)[20] == pytest.approx(2.0)
    for make in (
        lambda: around(1.0, 1.0),
        lambda: geometric(0, 1, 3),
        lambda: geometric(1, 2, 1),
        lambda: checked([1.0]),
        lambda: checked([1.0, 1.0]),
        lambda: checked([2.0, 1.0]),
        lambda: checked([-1.0, 1.0]),
        lambda: checked([0.0, np.inf]),
    ):
        with pytest.raises(ValueError, match=r"grid|factor"):
            make()
