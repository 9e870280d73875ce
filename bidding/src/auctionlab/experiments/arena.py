"""What the experiments with games have in common: worlds, days, budgets, and a store of finished games."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from auctionlab.auction.mechanism import Rules
from auctionlab.evolution.equilibrium import deviations
from auctionlab.evolution.feasibility import InfeasibleError
from auctionlab.evolution.games import train
from auctionlab.evolution.objectives import Advertiser
from auctionlab.evolution.strategy import Search
from auctionlab.evolution.trained import Game, Trained, shares, truthful
from auctionlab.experiments.store import Store
from auctionlab.market.market import Market
from auctionlab.market.world import World


@dataclass(frozen=True)
class Arena:
    """Advertisers of equal standing in worlds that are alike in all but chance.

    Raises ValueError where a number is out of its range.
    """

    world: World = field(default_factory=lambda: World(ads=8, auctions=2_000, burst=1.0))
    """The world; each seed has one of its own."""
    rules: Rules = field(default_factory=lambda: Rules(positions=(1.0,), reserve=0.01))
    """Rules of the auctions. With a least price, an ad that has its last hundredth left is out."""
    budget_share: float = 0.8
    """Each ad's budget, as a share of what its truthful bids would cost without one."""
    manual: int = 0
    """How many ads, from the first, bid what clicks are worth whatever the others do."""
    train_days: int = 3
    """Days to learn from; another one is played."""
    search: Search = field(default_factory=Search)
    """Settings of every search."""
    seeds: int = 5
    """Worlds."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"at least one seed is needed, not {self.seeds}")
        if not 0 < self.budget_share < np.inf:
            raise ValueError(f"budget_share must be above 0, not {self.budget_share}")
        if not 0 <= self.manual < self.world.ads:
            raise ValueError(f"manual must lie between 0 and {self.world.ads - 1}, not {self.manual}")
        if self.train_days < 1:
            raise ValueError(f"at least one day to learn from is needed, not {self.train_days}")

    def days(self, seed: int) -> tuple[list[Market], Market]:
        """Days to learn from, and the day to play."""
        world = replace(self.world, seed=self.world.seed + seed)
        return [world.day(day) for day in range(1, self.train_days + 1)], world.day(0)

    def advertisers(self, days: Sequence[Market]) -> list[Advertiser]:
        """Ads that want profit, each with its budget."""
        free = truthful(days[0], [Advertiser()] * self.world.ads, self.rules)
        return [
            Advertiser(budget=self.budget_share * float(free[ad, 3]), manual=ad < self.manual)
            for ad in range(self.world.ads)
        ]

    def game(self, cooperation: float, floor: float | None = None) -> Game:
        """A game by these rules and this search."""
        return Game(cooperation, floor, self.rules, self.search)


@dataclass(frozen=True)
class Played:
    """One game in one world, on the day after training; all relative to truthful bidding."""

    revenue: float
    """The platform's."""
    value: float
    """Worth of all purchases."""
    surplus: float
    """Profit of all ads."""
    manual: float
    """Profit of manual ads; NaN where there is none."""
    scaling: float
    """What an ad could still gain by one factor on its bids, mean over ads."""
    plan: float
    """The same by the exact plan of its hours."""
    trouble: str
    """What limits were not kept; empty where all were."""
    refused: bool
    """Whether limits were found to be infeasible; then all numbers are NaN."""


def play(
    days: Sequence[Market],
    test: Market,
    advertisers: Sequence[Advertiser],
    game: Game,
    *,
    threads: int | None = None,
) -> Played:
    """Train on days, play another, and see who would rather leave."""
    try:
        trained = train(days, advertisers, game, threads=threads)
    except InfeasibleError as error:
        nan = float("nan")
        return Played(nan, nan, nan, nan, nan, nan, str(error), True)
    return judge(trained, days, test, advertisers)


def judge(
    trained: Trained, days: Sequence[Market], test: Market, advertisers: Sequence[Advertiser]
) -> Played:
    """What learned policies come to on another day."""
    base = truthful(test, advertisers, trained.game.rules)
    told = shares(trained.play(test, advertisers), base, advertisers)
    learns = trained.policies.groups >= 0
    leave = deviations(trained, days[0], test, advertisers)
    return Played(
        told.revenue,
        told.value,
        told.surplus,
        told.manual,
        float(leave.scaling[learns].mean()),
        float(leave.plan[learns].mean()),
        trained.trouble,
        False,
    )


Progress = Callable[[int, int], None]
"""Told (done, all)."""


def every(
    seeds: int,
    names: Sequence[str],
    make: Callable[[int, str], dict[str, Any]],
    store: Store,
    progress: Progress | None,
) -> dict[str, list[dict[str, Any]]]:
    """Each row's parts, seed by seed, from the store where it has them, else made by (seed, name)."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(seeds):
        for number, name in enumerate(names):
            found[name].append(store.get(f"seed-{seed}-{number}", partial(make, seed, name)))
            if progress:
                progress(seed * len(names) + number + 1, seeds * len(names))
    return found
