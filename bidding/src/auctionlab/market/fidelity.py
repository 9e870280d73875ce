"""What a log of auctions can answer."""

from __future__ import annotations

import enum


class Fidelity(enum.Enum):
    """How much of each auction is known."""

    COMPLETE = "complete"
    """Every bid: any bid can be tried, and the auction ranked anew exactly."""
    MARKET_PRICE = "market-price"
    """One position, and the price that one bidder had to beat: good for that bidder alone, and only up to
    the bids it made, as dearer auctions it lost are not in the log."""
    AGGREGATE = "aggregate"
    """Sums only: they can fit a World, nothing can be replayed."""
