"""What a bid is a multiple of."""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

from auctionlab.market.market import Market

Floats = NDArray[np.float64]


class Signal(enum.Enum):
    """The number per candidate that a multiplier turns into a bid."""

    MODEL = "model"
    """Predicted value of a click: predicted conversion rate times price."""
    FLAT = "flat"
    """One: the multiplier itself is the bid."""
    STANDING = "standing"
    """The standing bid."""

    def of(self, market: Market) -> Floats:
        """The signal (E,) of every candidate of a market."""
        if self is Signal.MODEL:
            return np.asarray(market.predicted * market.price, np.float64)
        if self is Signal.FLAT:
            return np.ones(market.candidates)
        return np.asarray(market.bid, np.float64)


def keyword_bids(market: Market, ad: int) -> Floats:
    """One bid for each keyword (keywords,): the mean predicted value of the ad's clicks on it.

    Means are weighted by click rates, so that a keyword's bid is what its clicks are worth. Keywords that
    the ad has no auction of get 0.
    """
    row = market.rows_of(ad)
    word = market.keyword_of_candidate[row]
    clicks = np.bincount(word, market.click[row])
    worth = np.bincount(word, market.click[row] * market.predicted[row] * market.price[row])
    return np.divide(worth, clicks, out=np.zeros_like(worth), where=clicks > 0)


def bids_by_keyword(market: Market, ad: int, keyword: Floats) -> Floats:
    """Bids (E,): the standing ones, and for one ad its bid for each auction's keyword (keywords,).

    Keywords beyond the table get 0.
    """
    bids = np.array(market.bid, np.float64)
    row = market.rows_of(ad)
    word = market.keyword_of_candidate[row]
    known = word < keyword.size
    bids[row] = np.where(known, keyword[np.where(known, word, 0)], 0.0)
    return bids
