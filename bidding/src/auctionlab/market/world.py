"""Worlds: days of auctions drawn by chance, alike as one day is like the next.

A world fixes what lasts: the keywords, each ad's rates and values, the usual course of a day. A day adds
what does not: which queries come, how each hour turns out, and when the bursts of buyers come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auctionlab.market.market import Market
from auctionlab.market.traffic import WEEK

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """What days have in common. `day(seed)` draws one.

    Raises ValueError where a number is out of its range.
    """

    ads: int = 9
    """How many ads there are."""
    keywords: int = 10
    """How many keywords queries are about."""
    auctions: int = 24_000
    """Auctions a day."""
    candidates: int | None = None
    """Ads that compete in an auction, drawn anew each time; None for all."""
    traffic: tuple[float, ...] = WEEK[1]
    """Each hour's share of the day's auctions; as many as the day has hours."""
    price: float = 20.0
    """What a purchase is worth, on average over ads."""
    hour_swing: float = 0.45
    """Standard deviation over a day's hours of the logarithm of the conversion rate: some hours buy more."""
    level_noise: float = 0.03
    """The same between days: how far an hour's level is from its usual one (eta)."""
    sees_hour: bool = False
    """Whether the predicted conversion rate knows the usual level of the hour."""
    burst: float = 2.4
    """Factor on conversion rates in a burst of buyers; 1 for none."""
    burst_share: float = 0.25
    """Share of an hour's segments that are bursts. The other segments convert less, so that the mean is 1."""
    segments: int = 12
    """Equal pieces of an hour, each a burst or not."""
    bursts_move: bool = True
    """Whether bursts come elsewhere in the hour every day, or in the same order each day."""
    balanced: bool = True
    """Whether every hour has the same number of bursts, or as many as chance gives it."""
    bid_spread: float = 0.3
    """Standard deviation of the logarithm of standing bids around an ad's predicted value of a click."""
    seed: int = 0
    """Of everything that lasts."""

    def __post_init__(self) -> None:
        least = {"ads": 1, "keywords": 1, "auctions": 0, "segments": 1, "seed": 0}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, not {getattr(self, name)}")
        if self.candidates is not None and not 1 <= self.candidates <= self.ads:
            raise ValueError(f"candidates must lie between 1 and the {self.ads} ads, not {self.candidates}")
        if not self.traffic or min(self.traffic) < 0 or not sum(self.traffic) > 0:
            raise ValueError("traffic must give every hour a share of 0 or more, and some hour more than 0")
        for name, most in (("price", 1e15), ("hour_swing", 5), ("level_noise", 5), ("bid_spread", 5)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie between 0 and {most:g}, not {getattr(self, name)}")
        if not 0 < self.burst_share < 1:
            raise ValueError(f"burst_share must lie between 0 and 1, not {self.burst_share}")
        if not 0 <= self.burst * self.burst_share < 1:
            raise ValueError(
                "burst times burst_share must stay below 1, or nothing is left for quiet segments"
            )

    @property
    def hours(self) -> int:
        """Hours of a day."""
        return len(self.traffic)

    def day(self, seed: int) -> Market:
        """One day. The same seed gives the same day; days differ in all that chance decides."""
        if seed < 0:
            raise ValueError(f"the seed of a day must be 0 or more, not {seed}")
        lasting = np.random.default_rng([self.seed, 0])
        chance = np.random.default_rng([self.seed, 1, seed])
        shape = (self.keywords, self.ads)
        click = np.minimum(0.12 * _alike(lasting, shape, 0.2, 0.15), 0.5)
        conversion = np.minimum(0.12 * _alike(lasting, shape, 0.3, 0.15), 0.5)
        price = self.price * np.exp(0.15 * lasting.standard_normal(self.ads))
        usual = _curve(lasting, self.hours) * self.hour_swing
        usual -= np.log(np.average(np.exp(usual), weights=self.traffic))

        hour = self._hours()
        keyword = chance.integers(self.keywords, size=self.auctions)
        level = np.exp(usual + self.level_noise * chance.standard_normal(self.hours))
        bursts = self._bursts(chance if self.bursts_move else lasting)
        truth = level[hour] * bursts[hour, self._segments(hour)]
        seen = np.exp(usual)[hour] if self.sees_hour else np.ones(self.auctions)

        ad = self._candidates(lasting, chance, keyword)
        width = ad.shape[1]
        words = keyword[:, None]
        rate = np.minimum(click[words, ad] * np.exp(0.25 * chance.standard_normal(ad.shape)), 1.0)
        query = conversion[words, ad] * np.exp(0.25 * chance.standard_normal(ad.shape))
        predicted = np.minimum(query * seen[:, None], 1.0)
        standing = np.exp(self.bid_spread * chance.standard_normal(ad.shape))
        return Market.of(
            offsets=np.arange(self.auctions + 1) * width,
            ad=ad.ravel(),
            click=rate.ravel(),
            conversion=np.minimum(query * truth[:, None], 1.0).ravel(),
            price=price[ad].ravel(),
            bid=(predicted * price[ad] * standing).ravel(),
            hour=hour,
            keyword=keyword,
            predicted=predicted.ravel(),
            ads=self.ads,
            hours=self.hours,
        )

    def _hours(self) -> NDArray[np.int64]:
        ends = np.round(np.cumsum(self.traffic) / sum(self.traffic) * self.auctions).astype(int)
        return np.repeat(np.arange(self.hours), np.diff(ends, prepend=0))

    def _segments(self, hour: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes = np.bincount(hour, minlength=self.hours)
        place = np.arange(hour.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return place * self.segments // np.maximum(sizes[hour], 1)

    def _bursts(self, chance: np.random.Generator) -> Floats:
        """(H, segments) factors on the conversion rate, of mean one."""
        shape = (self.hours, self.segments)
        if self.balanced:
            busy = np.arange(self.segments) < round(self.burst_share * self.segments)
            where = chance.permuted(np.broadcast_to(busy, shape), axis=1)
        else:
            where = chance.random(shape) < self.burst_share
        share = where.mean() if self.balanced else self.burst_share
        quiet = (1 - self.burst * share) / (1 - share)
        return np.where(where, self.burst, quiet)

    def _candidates(
        self, lasting: np.random.Generator, chance: np.random.Generator, keyword: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """(N, width) the ads of each auction: of a pool that each keyword has for good, some in each."""
        if self.candidates is None:
            return np.broadcast_to(np.arange(self.ads), (self.auctions, self.ads))
        size = min(self.ads, 2 * self.candidates)
        pool = np.argsort(lasting.random((self.keywords, self.ads)), axis=1)[:, :size]
        drawn = np.argpartition(chance.random((self.auctions, size)), self.candidates - 1, axis=1)
        return pool[keyword[:, None], drawn[:, : self.candidates]]


def _alike(chance: np.random.Generator, shape: tuple[int, int], keyword: float, ad: float) -> Floats:
    """(keywords, ads) factors: part of the spread is the keyword's, shared by all ads, part is the ad's."""
    spread = keyword * chance.standard_normal((shape[0], 1)) + ad * chance.standard_normal(shape)
    return np.asarray(np.exp(spread))


def _curve(chance: np.random.Generator, hours: int) -> Floats:
    """A smooth course of the day, of standard deviation one."""
    angle = 2 * np.pi * np.arange(hours) / max(hours, 1)
    curve = sum(
        chance.standard_normal() * np.sin(order * angle) + chance.standard_normal() * np.cos(order * angle)
        for order in (1, 2)
    )
    spread = float(np.std(curve))
    return np.asarray(curve) / spread if spread > 0 else np.zeros(hours)
