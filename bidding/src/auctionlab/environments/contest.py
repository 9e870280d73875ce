"""Many ads that bid against one another, as arrays: what a thousand agents can be trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.bids.grid import checked, geometric
from auctionlab.bids.signals import Signal
from auctionlab.environments.hourly import EXHAUSTED
from auctionlab.environments.observation import SIZE
from auctionlab.environments.rewards import mixed
from auctionlab.market.fidelity import Fidelity
from auctionlab.market.market import Integers, Market

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contestants:
    """Who bids by choosing, and with what. Everyone else keeps to the standing bids."""

    ads: tuple[int, ...]
    """The ads that choose, without repeats."""
    budgets: tuple[float, ...]
    """Money for a day of every ad of the market (A,), those that do not choose included."""
    cooperation: float = 0.0
    """Weight of the mean reward of all that choose in each one's reward."""


class Contest:
    """Days on which n ads each choose a multiplier every hour. All arrays are by contestant (n, ...)."""

    def __init__(
        self,
        days: Sequence[Market],
        contestants: Contestants,
        *,
        rules: Rules | None = None,
        signal: Signal = Signal.MODEL,
        grid: ArrayLike | None = None,
        seed: int | None = None,
    ) -> None:
        """Prepare the days.

        Args:
            days: of the same ads and hours.
            contestants: who chooses.
            rules: of the auctions.
            signal: what multipliers multiply.
            grid: rising multipliers of all; 41 from 0.15 to 3 if not given.
            seed: of clicks and purchases; None computes expected values.

        Raises:
            ValueError: no days, days that differ in ads or hours, unknown or repeated ads, wrong budgets.

        """
        if not days:
            raise ValueError("at least one day is needed")
        first = days[0]
        if any((day.ads, day.hours) != (first.ads, first.hours) for day in days):
            raise ValueError("all days must have the same ads and hours")
        if not contestants.ads or len(set(contestants.ads)) < len(contestants.ads):
            raise ValueError("contestants must be at least one ad, none of them twice")
        if len(contestants.ads) > 1 and any(day.fidelity is not Fidelity.COMPLETE for day in days):
            raise ValueError(
                "several ads can only be set against one another where every bid of an auction is known; "
                f"this log is {first.fidelity.value}: choose one ad, or fit a World to it"
            )
        if wrong := [ad for ad in contestants.ads if not 0 <= ad < first.ads]:
            raise ValueError(f"there is no ad {wrong[0]}; ads are 0 to {first.ads - 1}")
        if len(contestants.budgets) != first.ads:
            raise ValueError(f"there are {first.ads} ads but {len(contestants.budgets)} budgets")
        if wrong_money := [money for money in contestants.budgets if not money >= 0]:
            raise ValueError(f"a budget must be 0 or more, not {wrong_money[0]}")
        self.days, self.contestants = list(days), contestants
        self.rules, self.seed = rules or Rules(), seed
        self.grid = geometric(0.15, 3.0, 41) if grid is None else checked(grid)
        self.ads = np.array(contestants.ads)
        self.hours = first.hours
        # Each ad's place among the contestants, or -1.
        self._place = np.full(first.ads, -1)
        self._place[self.ads] = np.arange(self.ads.size)
        self._signals = [signal.of(day) for day in days]
        self._bounds = [day.bounds() for day in days]
        self.usual = _usual_hour(first, np.asarray(contestants.budgets), self.rules, self.ads)
        self.begin(0)

    @property
    def size(self) -> int:
        """n, the number of contestants."""
        return self.ads.size

    def begin(self, day: int) -> Floats:
        """Begin a day by its number; the observations (n, 15)."""
        if not 0 <= day < len(self.days):
            raise ValueError(f"there is no day {day}; days are 0 to {len(self.days) - 1}")
        self._day, self.hour = day, 0
        self._budgets = np.array(self.contestants.budgets, np.float64)
        self.outcome = Outcome.empty(self.hours, self._budgets)
        self._actions = np.zeros(self.size)
        return self._observe()

    @property
    def over(self) -> bool:
        """Whether all hours are through."""
        return self.hour >= self.hours

    @property
    def exhausted(self) -> NDArray[np.bool_]:
        """(n,) whose money is gone."""
        click_price = self.usual[:, 2] / self.usual[:, 1]
        least = np.minimum(click_price, EXHAUSTED * self._budgets[self.ads])
        return np.asarray(self.outcome.left[self.ads] <= least)

    def step(self, actions: Integers) -> tuple[Floats, Floats, Floats]:
        """Clear an hour with everyone's choice (n,). Observations (n, 15), rewards (n,), own gains (n,).

        Rewards are in units of what the ad usually gains in an hour, and mixed as cooperation says.
        ValueError for actions out of range or of another number, RuntimeError after the last hour.
        """
        if self.over:
            raise RuntimeError("the day is over; begin() starts the next")
        chosen = np.asarray(actions)
        if chosen.shape != (self.size,) or chosen.dtype.kind not in "iu":
            raise ValueError(f"actions must be {self.size} integers, one for each contestant")
        if ((chosen < 0) | (chosen >= self.grid.size)).any():
            raise ValueError(f"actions must be indexes from 0 to {self.grid.size - 1}")
        market, bounds = self.days[self._day], self._bounds[self._day]
        start, stop = int(bounds[self.hour]), int(bounds[self.hour + 1])
        low, high = int(market.offsets[start]), int(market.offsets[stop])
        place = self._place[market.ad[low:high]]
        multiplier = np.append(self.grid[chosen], 0.0)[place]
        bids = np.where(place >= 0, multiplier * self._signals[self._day][low:high], market.bid[low:high])
        clear(market.piece(start, stop), bids, rules=self.rules, seed=self.seed, into=self.outcome)
        gain = self.outcome.gmv[self.hour, self.ads]
        self._actions = chosen / (self.grid.size - 1)
        self.hour += 1
        own = gain / self.usual[:, 4]
        return self._observe(), mixed(own, self.contestants.cooperation), gain

    def _observe(self) -> Floats:
        """The same fifteen numbers as for one ad, for all at once."""
        time = self.hour / self.hours
        angle = 2 * np.pi * time
        budgets = self._budgets[self.ads]
        left = self.outcome.left[self.ads]
        # Money without an end is always all there.
        limited = np.isfinite(budgets) & (budgets > 0)
        share = np.divide(left, budgets, out=np.ones(self.size), where=limited)
        last = np.zeros((self.size, 5))
        if self.hour > 0:
            got = self.outcome
            tables = (got.impressions, got.clicks, got.cost, got.conversions, got.gmv)
            last = np.stack([table[self.hour - 1, self.ads] for table in tables], axis=1)
        scaled = last / self.usual
        rates = np.divide(
            scaled[:, [1, 3, 2]],
            scaled[:, [0, 1, 1]],
            where=scaled[:, [0, 1, 1]] > 0,
            out=np.zeros((self.size, 3)),
        )
        constant = np.array([time, math.sin(angle), math.cos(angle), math.sin(2 * angle)])
        columns = (
            share[:, None],
            np.broadcast_to(constant, (self.size, 4)),
            scaled,
            rates,
            self._actions[:, None],
            (share - (1 - time))[:, None],
        )
        observation = np.concatenate(columns, axis=1)
        assert observation.shape == (self.size, SIZE)
        return np.asarray(np.clip(observation, -10.0, 10.0))


def _usual_hour(day: Market, budgets: Floats, rules: Rules, ads: Integers) -> Floats:
    """(n, 5) impressions, clicks, cost, conversions and GMV of an hour with everyone's standing bids."""
    got = clear(day, None, budgets, rules)
    tables = (got.impressions, got.clicks, got.cost, got.conversions, got.gmv)
    sums = np.stack([table.sum(axis=0)[ads] for table in tables], axis=1) / max(day.hours, 1)
    typical = np.maximum(sums.mean(axis=0), 1e-9)
    # An ad that got next to nothing is measured by the others.
    return np.asarray(np.maximum(sums, 0.05 * typical))
