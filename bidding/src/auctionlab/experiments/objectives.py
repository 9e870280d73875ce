"""Several objectives at once: a third of the ads wants clicks, a third conversions, a third GMV.

Each has a budget, and a limit on the price of a click: what its truthful bids pay. Prices and revenue are
relative to truthful bidding, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from auctionlab.evaluation.comparison import Estimate, estimate
from auctionlab.evolution.feasibility import InfeasibleError
from auctionlab.evolution.games import train
from auctionlab.evolution.objectives import Advertiser, Objective, ppc_excess, profit, reached, revenue
from auctionlab.evolution.trained import truthful
from auctionlab.experiments.arena import Arena, Progress, every
from auctionlab.experiments.store import Store
from auctionlab.market.market import Market
from auctionlab.market.world import World

Floats = NDArray[np.float64]

WANTED = (Objective.CLICKS, Objective.CONVERSIONS, Objective.GMV)
"""Objectives, a third of the ads each."""


@dataclass(frozen=True)
class Objectives:
    """What is compared."""

    arena: Arena = field(default_factory=lambda: Arena(world=World(ads=9, auctions=2_000, burst=1.0)))
    """Worlds and settings."""
    cooperation: float = 0.5
    """w of the cooperative rows."""
    floor: float = 0.98
    """Floor of the last row."""

    def rows(self) -> dict[str, tuple[float, float | None, bool]]:
        """Name, and cooperation, floor and whether prices are limited, of every row."""
        return {
            "selfish, no limits": (0.0, None, False),
            "selfish": (0.0, None, True),
            "own + common": (self.cooperation, None, True),
            f"own + common, floor {self.floor:g}": (self.cooperation, self.floor, True),
        }


@dataclass(frozen=True)
class Row:
    """One game over all seeds; truthful bidding is 1. None where every seed was refused."""

    name: str
    """What is played."""
    wanted: dict[str, Estimate] | None
    """What ads of each objective reached of it, mean over the ads."""
    profit: Estimate | None
    """Of all ads."""
    revenue: Estimate | None
    """The platform's."""
    excess: Estimate | None
    """How far the worst ad's price of a click is above its limit; below 0 where all are within."""
    floor_multiplier: Estimate | None
    """rho in the end."""
    ppc_multiplier: Estimate | None
    """The largest nu in the end."""
    trouble: tuple[str, ...]
    """What was not kept, or why it was refused."""


@dataclass(frozen=True)
class Result:
    """The table."""

    config: Objectives
    """What was compared."""
    rows: tuple[Row, ...]
    """Its rows."""


def advertisers_of(arena: Arena, days: Sequence[Market], *, limited: bool) -> list[Advertiser]:
    """Ads in turn of each objective; limits are what truthful bids pay for a click on the first day."""
    plain = arena.advertisers(days)
    sums = truthful(days[0], plain, arena.rules)
    return [
        replace(
            who,
            objective=WANTED[ad * len(WANTED) // len(plain)],
            ppc_limit=float(sums[ad, 3] / sums[ad, 2]) if limited and sums[ad, 2] > 0 else np.inf,
        )
        for ad, who in enumerate(plain)
    ]


def run(
    config: Objectives,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    store: Store | None = None,
) -> Result:
    """Play every game in every seed's world."""
    parts = every(
        config.arena.seeds,
        list(config.rows()),
        lambda seed, name: compare(config, seed, name, threads),
        store or Store(None, config),
        progress,
    )
    return Result(config, tuple(_row(name, games) for name, games in parts.items()))


def compare(config: Objectives, seed: int, name: str, threads: int | None) -> dict[str, float | str]:
    """One game in one world."""
    arena = config.arena
    cooperation, floor, limited = config.rows()[name]
    days, test = arena.days(seed)
    advertisers = advertisers_of(arena, days, limited=limited)
    limits = advertisers_of(arena, days, limited=True)
    try:
        trained = train(days, advertisers, arena.game(cooperation, floor), threads=threads)
    except InfeasibleError as error:
        return {"trouble": str(error)}
    base, sums = truthful(test, advertisers, arena.rules), trained.play(test, advertisers)
    got = reached(sums, advertisers) / reached(base, advertisers)
    return {
        **{wanted.value: _mean(got, advertisers, wanted) for wanted in WANTED},
        "profit": float(profit(sums).sum() / profit(base).sum()),
        "revenue": float(revenue(sums) / revenue(base)),
        "excess": float(ppc_excess(sums, limits).max()),
        "floor_multiplier": trained.history[-1].floor_multiplier,
        "ppc_multiplier": float(trained.ppc_multipliers.max()),
        "trouble": trained.trouble,
    }


def _mean(got: Floats, advertisers: Sequence[Advertiser], wanted: Objective) -> float:
    return float(np.mean([got[ad] for ad, who in enumerate(advertisers) if who.objective is wanted]))


def _row(name: str, parts: Sequence[dict[str, float | str]]) -> Row:
    whole = [part for part in parts if "revenue" in part]
    trouble = tuple(str(part["trouble"]) for part in parts if part["trouble"])

    def over(key: str) -> Estimate:
        return estimate([float(part[key]) for part in whole])

    if not whole:
        return Row(name, None, None, None, None, None, None, trouble)
    return Row(
        name,
        {wanted.value: over(wanted.value) for wanted in WANTED},
        over("profit"),
        over("revenue"),
        over("excess"),
        over("floor_multiplier"),
        over("ppc_multiplier"),
        trouble,
    )
