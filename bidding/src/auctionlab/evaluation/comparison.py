"""Comparisons at equal cost, and how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.ladder import Ladder, climb
from auctionlab.auction.mechanism import Rules
from auctionlab.bids.signals import bids_by_keyword
from auctionlab.market.market import Market
from auctionlab.optimum.landscape import Landscape, landscape

Floats = NDArray[np.float64]


class KeywordBidding:
    """What keyword bids, all scaled by one factor, gain at any cost: the yardstick of every table.

    A policy that spends less has it easier, as the first clicks are the cheapest. So a policy's gain is
    compared with that of keyword bids scaled to cost exactly what the policy cost.
    """

    def __init__(
        self,
        market: Market,
        ad: int,
        keyword: Floats,
        rules: Rules | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        """Keyword bids (keywords,) of one ad on a day. ValueError where there is no such ad."""
        self._market, self._ad, self._seed = market, ad, seed
        self._rules = rules or Rules()
        self._signal = bids_by_keyword(market, ad, keyword)
        self._ladder: Ladder = climb(market, ad, self._rules)
        unscaled = self._at(1.0)
        self.cost = float(unscaled.cost.sum())
        """Money that the bids cost as they are."""
        self.gain = float(unscaled.gain.sum())
        """What they gain as they are."""

    def _at(self, factor: float) -> Landscape:
        return landscape(
            self._market,
            self._ad,
            factor,
            self._rules,
            signal=self._signal,
            seed=self._seed,
            ladder=self._ladder,
        )

    def gain_at(self, cost: float) -> float:
        """What keyword bids gain when scaled to cost so much.

        Cost and gain jump where a bid passes a rival's; between the two sides of a jump they are mixed.
        ValueError where they cannot cost as much, however high.
        """
        low, high = 0.0, 1.0
        while (above := self._at(high)).cost.sum() < cost:
            low, high = high, 2 * high
            if high > 2.0**40:
                raise ValueError(f"keyword bids cannot be scaled to cost {cost:g} on this day")
        below = self._at(low)
        for _ in range(50):
            middle = (low + high) / 2
            response = self._at(middle)
            if response.cost.sum() < cost:
                low, below = middle, response
            else:
                high, above = middle, response
            if high - low <= 1e-10 * high:
                break
        first, second = float(below.cost.sum()), float(above.cost.sum())
        weight = (cost - first) / (second - first) if second > first else 1.0
        return float((1 - weight) * below.gain.sum() + weight * above.gain.sum())

    def relative_gain(self, gain: float, cost: float) -> float:
        """How much more than keyword bids at the same cost, in percent. NaN where they gain nothing."""
        usual = self.gain_at(cost) if cost > 0 else 0.0
        return 100.0 * (gain / usual - 1.0) if usual > 0 else float("nan")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and how sure it is."""

    mean: float
    """Mean."""
    error: float
    """Its standard error; NaN for a single seed."""
    low: float
    """Lower end of the 95 % bootstrap interval of the mean."""
    high: float
    """Upper end."""
    count: int
    """Seeds."""


def estimate(values: Sequence[float], *, draws: int = 4000, seed: int = 0) -> Estimate:
    """Mean, standard error and bootstrap interval. ValueError for no values."""
    numbers = np.asarray(values, np.float64)
    if numbers.size == 0:
        raise ValueError("there is nothing to average")
    error = float(numbers.std(ddof=1) / np.sqrt(numbers.size)) if numbers.size > 1 else float("nan")
    chosen = np.random.default_rng(seed).integers(numbers.size, size=(draws, numbers.size))
    low, high = np.percentile(numbers[chosen].mean(axis=1), [2.5, 97.5])
    return Estimate(float(numbers.mean()), error, float(low), float(high), numbers.size)


def paired(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The estimate of the difference first - second, seed by seed. ValueError for unequal lengths."""
    if len(first) != len(second):
        raise ValueError(f"pairs need as many of each, not {len(first)} and {len(second)}")
    return estimate([one - other for one, other in zip(first, second, strict=True)])
