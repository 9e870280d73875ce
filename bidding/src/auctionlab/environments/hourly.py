"""SS-RTB's decision process as a Gymnasium environment: one ad, a multiplier each hour, a budget a day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from auctionlab.auction.mechanism import Rules
from auctionlab.bids.grid import around, checked
from auctionlab.bids.signals import Signal
from auctionlab.environments.observation import SIZE, Usual, observe
from auctionlab.environments.rewards import Shaping
from auctionlab.market.market import Market
from auctionlab.market.world import World
from auctionlab.optimum.landscape import landscape, spending_multiplier
from auctionlab.pacing.day import BiddingDay

EXHAUSTED = 0.01
"""The purse is empty below the price of a usual click, or this share of the budget where that is less: bids
capped at so little win next to nothing."""


class HourlyBidding(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One ad's days. An action is an index into a grid of multipliers, an episode a day.

    The observation is `auctionlab.environments.observation`'s, the reward the worth of the hour's purchases
    divided by what is usual for an hour, plus the shaping. The last hour and an empty purse terminate: time
    and money are in the state. Nothing is ever truncated.

    `info` has the hour's cost, gain and clicks, and the multiplier.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self,
        days: Sequence[Market] | None = None,
        *,
        ad: int = 0,
        budget: float | Sequence[float] | None = None,
        rules: Rules | None = None,
        signal: Signal = Signal.MODEL,
        grid: ArrayLike | None = None,
        price_of_money: float | None = None,
        rivals: ArrayLike | None = None,
        seed: int | None = None,
        like: HourlyBidding | None = None,
    ) -> None:
        """Prepare the days.

        Args:
            days: to draw from; one day of the default World if not given.
            ad: who bids.
            budget: for a day, or one for each day; if not given, half of what bidding the signal would cost.
            rules: of the auctions.
            signal: what the multiplier multiplies.
            grid: rising multipliers; 41 around the constant one that just spends the first day's budget if
                not given.
            price_of_money: of the shaping, in gain per unit of money; if not given, the gain per unit of
                cost of the last bit that the constant multiplier spends. 0 for no shaping.
            rivals: (A,) budgets of the others, infinite if not given.
            seed: of clicks and purchases; None computes expected values.
            like: an environment whose grid, units and price of money to take over, for test days.

        Raises:
            ValueError: no days, a budget for another number of days, or anything that its parts refuse.

        """
        markets = [World().day(0)] if days is None else list(days)
        if not markets:
            raise ValueError("at least one day is needed")
        self.rules, self.signal, self.ad = rules or Rules(), signal, ad
        self.budgets = _budgets(budget, markets, ad, self.rules, signal)
        self._days = [
            BiddingDay(day, ad, rules=self.rules, signal=signal, rivals=rivals, seed=seed) for day in markets
        ]
        self.grid: NDArray[np.float64]
        self.usual: Usual
        self.shaping: Shaping
        if like is not None:
            self.grid, self.usual, self.shaping = like.grid, like.usual, like.shaping
        else:
            center = _center(markets[0], ad, self.budgets[0], self.rules, signal)
            self.grid = around(center) if grid is None else checked(grid)
            spent = landscape(markets[0], ad, center, self.rules, signal=signal)
            self.usual = Usual.of(markets[0], ad, spent, self.budgets[0])
            if price_of_money is None:
                price_of_money = _marginal_gain(markets[0], ad, center, self.rules, signal)
            self.shaping = Shaping(price_of_money)
        self.observation_space = gymnasium.spaces.Box(-10.0, 10.0, (SIZE,), np.float32)
        self.action_space: Any = gymnasium.spaces.Discrete(self.grid.size)
        self._day = self._days[0]
        self._action = 0.0
        self._over = True

    @property
    def hours(self) -> int:
        """Steps of the day that is on."""
        return self._day.market.hours

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a day: one drawn by chance, or options["day"]."""
        super().reset(seed=seed)
        chosen = (options or {}).get("day")
        index = int(self.np_random.integers(len(self._days))) if chosen is None else int(chosen)
        if not 0 <= index < len(self._days):
            raise ValueError(f"there is no day {index}; days are 0 to {len(self._days) - 1}")
        self._day = self._days[index]
        self._day.begin(self.budgets[index])
        self._action, self._over = 0.0, False
        return self._observation(), {"day": index}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Bid for an hour. ValueError for an action out of range, RuntimeError after the end of the day."""
        if self._over:
            raise RuntimeError("the day is over; reset() begins the next")
        if not (_is_integer(action) and 0 <= int(action) < self.grid.size):
            raise ValueError(f"the action must be an index from 0 to {self.grid.size - 1}, not {action!r}")
        before = self._day.status.left
        multiplier = float(self.grid[int(action)])
        hour = self._day.bid(multiplier)
        after = self._day.status.left
        least = min(self.usual.click_price, EXHAUSTED * self._day.budget)
        self._over = self._day.over or after <= least
        self._action = int(action) / (self.grid.size - 1)
        reward = self.shaping.reward(hour.gmv, before, after, self._over) / self.usual.gmv
        info = {"cost": hour.cost, "gain": hour.gmv, "clicks": hour.clicks, "multiplier": multiplier}
        return self._observation(), reward, self._over, False, info

    def _observation(self) -> NDArray[np.float32]:
        return observe(self._day.status, self.usual, self._action).astype(np.float32)


def _is_integer(action: Any) -> bool:
    return isinstance(action, (int, np.integer)) or (
        isinstance(action, np.ndarray) and action.ndim == 0 and action.dtype.kind in "iu"
    )


def _budgets(
    budget: float | Sequence[float] | None, days: list[Market], ad: int, rules: Rules, signal: Signal
) -> list[float]:
    if budget is None:
        return [
            max(float(landscape(day, ad, 1.0, rules, signal=signal).cost.sum()) / 2, 1e-9) for day in days
        ]
    budgets = [float(budget)] * len(days) if isinstance(budget, (int, float)) else [float(b) for b in budget]
    if len(budgets) != len(days):
        raise ValueError(f"there are {len(days)} days but {len(budgets)} budgets")
    if wrong := [value for value in budgets if not 0 < value < np.inf]:
        raise ValueError(f"a day's budget must be above 0 and finite, not {wrong[0]}")
    return budgets


def _center(day: Market, ad: int, budget: float, rules: Rules, signal: Signal) -> float:
    try:
        return spending_multiplier(day, ad, budget, rules, signal=signal)
    except ValueError:
        # More money than the day can take: bid what clicks are worth.
        return 1.0


def _marginal_gain(day: Market, ad: int, center: float, rules: Rules, signal: Signal) -> float:
    """Gain per unit of cost between 5 % below the constant multiplier and 5 % above."""
    around_it = landscape(day, ad, [center * 0.95, center * 1.05], rules, signal=signal)
    cost = np.diff(around_it.cost.sum(axis=0))[0]
    return float(np.diff(around_it.gain.sum(axis=0))[0] / cost) if cost > 0 else 0.0
