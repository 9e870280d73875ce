"""The fifteen numbers that an agent sees when an hour begins. The paper does not give its own: ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from auctionlab.market.market import Market
from auctionlab.optimum.landscape import Landscape
from auctionlab.pacing.policy import Hour, Status

Floats = NDArray[np.float64]
Seen = TypeVar("Seen", bound=NDArray[np.floating[Any]])

NAMES = (
    "money left, share of the budget",
    "share of the day that is over",
    "sin of the time of day",
    "cos of the time of day",
    "sin of twice the time of day",
    "impressions",
    "clicks",
    "cost",
    "conversions",
    "gross merchandise value",
    "click rate",
    "conversion rate",
    "price per click",
    "last action, from 0 to 1",
    "money left less time left",
)
"""What each number is. Counts and money are the last hour's, each divided by what is usual for an hour."""

SIZE = len(NAMES)

_RESULTS = slice(5, 13)
"""Which of them are the last hour's results."""


@dataclass(frozen=True)
class Usual:
    """What an ad usually gets in an hour: the units in which it sees its results."""

    impressions: float
    """Times shown."""
    clicks: float
    """Clicks."""
    cost: float
    """Money spent."""
    conversions: float
    """Purchases."""
    gmv: float
    """What buyers spent."""

    @property
    def click_price(self) -> float:
        """What a click usually costs."""
        return self.cost / self.clicks

    @classmethod
    def of(cls, market: Market, ad: int, responses: Landscape, budget: float) -> Usual:
        """From a day and its responses at one multiplier (H, 1); at least a tiny amount of each."""
        hours = max(market.hours, 1)
        price = float(np.mean(market.price[market.rows_of(ad)])) if (market.ad == ad).any() else 1.0
        gain = float(responses.gain.sum()) / hours
        return cls(
            impressions=max(market.auctions / hours, 1.0),
            clicks=max(float(responses.clicks.sum()) / hours, 1e-9),
            cost=max(budget / hours, 1e-9),
            conversions=max(gain / max(price, 1e-9), 1e-9),
            gmv=max(gain, 1e-9),
        )


def observe(status: Status, usual: Usual, action: float) -> Floats:
    """The observation (15,) as NAMES lists it; action is the last one's place on the grid, from 0 to 1.

    All numbers are kept within [-10, 10], so that a day unlike any other cannot throw an agent off.
    """
    last: Hour = status.last
    time = status.hour / status.hours
    angle = 2 * np.pi * time
    click_rate = last.clicks / last.impressions if last.impressions > 0 else 0.0
    conversion_rate = last.conversions / last.clicks if last.clicks > 0 else 0.0
    click_price = last.cost / last.clicks if last.clicks > 0 else 0.0
    numbers = (
        status.share_left,
        time,
        np.sin(angle),
        np.cos(angle),
        np.sin(2 * angle),
        last.impressions / usual.impressions,
        last.clicks / usual.clicks,
        last.cost / usual.cost,
        last.conversions / usual.conversions,
        last.gmv / usual.gmv,
        click_rate * usual.impressions / usual.clicks,
        conversion_rate * usual.clicks / usual.conversions,
        click_price * usual.clicks / usual.cost,
        action,
        status.share_left - (1 - time),
    )
    return np.clip(np.array(numbers, np.float64), -10.0, 10.0)


def blurred(observations: Seen, blur: float, chance: np.random.Generator) -> Seen:
    """Observations (..., 15) whose results are off by a relative normal error; the rest as it is.

    On a day that is known, the last digits of an hour's results tell which hour it was and how it was bid
    for. On the next day they tell nothing. Learning from blurred results keeps an agent from reading them.
    """
    if blur == 0:
        return observations
    seen = observations.copy()
    seen[..., _RESULTS] *= 1.0 + blur * chance.standard_normal(seen[..., _RESULTS].shape)
    return seen
