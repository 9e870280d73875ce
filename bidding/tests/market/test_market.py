from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.markets import random_market

from auctionlab.market.market import Market

GOOD: dict[str, Any] = {
    "offsets": [0, 2, 3],
    "ad": [0, 1, 0],
    "click": [0.1, 0.2, 0.3],
    "conversion": [0.1, 0.2, 0.3],
    "price": [1.0, 2.0, 3.0],
    "bid": [1.0, 2.0, 3.0],
    "hour": [0, 1],
    "keyword": [0, 1],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": []}, "offsets must begin with 0"),
        ({"offsets": [1, 2, 3]}, "offsets must begin with 0"),
        ({"offsets": [0, 4, 3]}, "offsets go back after auction 1"),
        ({"offsets": [0.0, 2.0, 3.0]}, "offsets must be a flat array of integers"),
        ({"ad": [0, 1]}, "ad has 2 entries, but offsets say there must be 3"),
        ({"ad": [0, 7, 0], "ads": 2}, "ad is 7 in row 1, but ads are 0 to 1"),
        ({"ad": [0, -1, 0]}, "ad is -1 in row 1"),
        ({"ad": [1, 1, 0]}, "ad 1 stands twice in auction 0"),
        ({"click": [0.1, np.nan, 0.3]}, "click is nan in row 1; rates lie between 0 and 1"),
        ({"click": [0.1, 1.2, 0.3]}, "click is 1.2 in row 1"),
        ({"conversion": [-0.1, 0.2, 0.3]}, "conversion is -0.1 in row 0"),
        ({"predicted": [0.1, np.inf, 0.3]}, "predicted is inf in row 1"),
        ({"price": [1.0, -2.0, 3.0]}, "price is -2.0 in row 1; money is 0 or more, and finite"),
        ({"bid": [1.0, np.inf, 3.0]}, "bid is inf in row 1"),
        ({"bid": ["a", "b", "c"]}, "bid must be numbers"),
        ({"bid": [[1.0, 2.0, 3.0]]}, "bid must be a flat array"),
        ({"hour": [1, 0]}, "the hour falls after auction 0"),
        ({"hour": [0, 5], "hours": 3}, "hour is 5 in auction 1, but hours are 0 to 2"),
        ({"hour": [0]}, "hour has 1 entries"),
        ({"keyword": [0, -1]}, "keyword is -1 in auction 1"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Market.of(**{**GOOD, **changes})


def test_an_empty_day_and_empty_auctions_are_allowed() -> None:
    assert Market.of(offsets=[0], ad=np.zeros(0, int), click=[]).auctions == 0
    assert Market.of(offsets=[0, 0, 1], ad=[0], click=[0.5]).auctions == 2


def test_what_is_left_out_is_one_or_zero_and_takes_no_memory() -> None:
    market = Market.of(offsets=[0, 2], ad=[0, 1], click=[0.5, 0.5])
    assert (market.price == 1).all() and (market.bid == 0).all() and (market.conversion == 1).all()
    assert market.price.strides == (0,)


def test_arrays_are_read_only_but_the_callers_stay_writable() -> None:
    bid = np.array([1.0, 2.0, 3.0])
    market = Market.of(**{**GOOD, "bid": bid})
    with pytest.raises(ValueError, match="read-only"):
        market.bid[0] = 5.0
    bid[0] = 5.0


def test_single_precision_stays_single() -> None:
    market = Market.of(**{**GOOD, "click": np.array([0.1, 0.2, 0.3], np.float32)})
    assert market.click.dtype == np.float32


def test_pieces_keep_the_auctions_numbers() -> None:
    market = random_market(1)
    piece = market.piece(5, 12).piece(2, 4)
    assert (piece.first, piece.auctions) == (7, 2)
    assert np.array_equal(piece.hour, market.hour[7:9])
    assert np.array_equal(piece.bid, market.bid[market.offsets[7] : market.offsets[9]])


def test_a_divided_day_has_steps_in_place_of_hours() -> None:
    market = random_market(1).divided(10)
    assert market.hours == 3
    assert np.array_equal(market.hour, np.arange(25) // 10)
    with pytest.raises(ValueError, match="at least one auction"):
        market.divided(0)


def test_bounds_cover_the_day_with_empty_hours_too() -> None:
    market = Market.of(offsets=[0, 1, 2, 3], ad=[0, 0, 0], click=[0.1] * 3, hour=[1, 1, 3], hours=5)
    assert market.bounds().tolist() == [0, 0, 2, 2, 3, 3]


def test_an_unknown_ad_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no ad 9"):
        random_market(1).rows_of(9)
