"""One ad's day, hour by hour: sets its bids, clears the hour with the core, says what came of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.bids.signals import Signal
from auctionlab.market.market import Market
from auctionlab.pacing.policy import Hour, Policy, Status

Floats = NDArray[np.float64]


class BiddingDay:
    """A day on which one ad bids multiplier x signal, and the others their standing bids.

    Prepared once for a market, it can be gone through many times: `begin`, then `bid` for each hour.
    """

    def __init__(
        self,
        market: Market,
        ad: int,
        *,
        rules: Rules | None = None,
        signal: Signal = Signal.MODEL,
        rivals: ArrayLike | None = None,
        seed: int | None = None,
    ) -> None:
        """Prepare a market.

        Args:
            market: the day; its hours are the steps (see `Market.divided`).
            ad: who bids.
            rules: of the auctions.
            signal: what the multiplier multiplies.
            rivals: (A,) budgets of the others, infinite if not given; the ad's own entry is not used.
            seed: of the chances; None computes expected values.

        Raises:
            ValueError: there is no such ad, or budgets are wrong.

        """
        self.market, self.ad, self.rules, self.seed = market, ad, rules or Rules(), seed
        self.rivals = np.full(market.ads, math.inf) if rivals is None else np.array(rivals, np.float64)
        if self.rivals.shape != (market.ads,):
            raise ValueError(f"rivals must have the shape ({market.ads},), not {self.rivals.shape}")
        rows = market.rows_of(ad)
        signals = signal.of(market)[rows]
        bounds = market.bounds()
        edges = np.searchsorted(rows, market.offsets[bounds])
        self._pieces = [market.piece(start, stop) for start, stop in itertools.pairwise(bounds)]
        self._own = [
            (rows[low:high] - market.offsets[start], signals[low:high])
            for low, high, start in zip(edges[:-1], edges[1:], bounds[:-1], strict=True)
        ]
        self._bids = [np.array(piece.bid, np.float64) for piece in self._pieces]
        self.begin(0.0)

    def begin(self, budget: float) -> Status:
        """Start the day anew with a budget. ValueError where it is negative or not a number."""
        if not budget >= 0:
            raise ValueError(f"the budget must be 0 or more, not {budget}")
        budgets = self.rivals.copy()
        budgets[self.ad] = budget
        self.outcome = Outcome.empty(self.market.hours, budgets)
        self.budget, self.hour = budget, 0
        self._last, self._multiplier = Hour(), 0.0
        return self.status

    @property
    def status(self) -> Status:
        """What is known now."""
        return Status(
            self.hour,
            self.market.hours,
            float(self.outcome.left[self.ad]),
            self.budget,
            self._last,
            self._multiplier,
        )

    @property
    def over(self) -> bool:
        """Whether all hours are through."""
        return self.hour >= self.market.hours

    def bid(self, multiplier: float) -> Hour:
        """Clear the next hour at a multiplier; what the ad got.

        Raises ValueError where the multiplier is negative or not finite, RuntimeError after the last hour.
        """
        if self.over:
            raise RuntimeError("the day is over; begin() starts it anew")
        if not 0 <= multiplier < math.inf:
            raise ValueError(f"a multiplier must be 0 or more and finite, not {multiplier}")
        rows, signals = self._own[self.hour]
        bids = self._bids[self.hour]
        bids[rows] = multiplier * signals
        clear(self._pieces[self.hour], bids, rules=self.rules, seed=self.seed, into=self.outcome)
        self._last = self._result(self.hour)
        self._multiplier = multiplier
        self.hour += 1
        return self._last

    def _result(self, hour: int) -> Hour:
        got, ad = self.outcome, self.ad
        return Hour(
            float(got.impressions[hour, ad]),
            float(got.clicks[hour, ad]),
            float(got.cost[hour, ad]),
            float(got.conversions[hour, ad]),
            float(got.gmv[hour, ad]),
        )

    def follow(self, policy: Policy, budget: float) -> Outcome:
        """Go through the whole day with a policy."""
        policy.begin()
        status = self.begin(budget)
        while not self.over:
            self.bid(policy.multiplier(status))
            status = self.status
        return self.outcome
