"""The promise gap: what a bidder is promised by a simulation with fixed rivals, and what it gets.

Each ad is trained alone against rivals who bid the truth, as prior work trains; the simulation promises it a
gain. Then all deploy what they were promised, and each gets something else. Ads that search at once are
promised what they get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from auctionlab.evaluation.comparison import Estimate, estimate, paired
from auctionlab.evolution.games import train
from auctionlab.evolution.objectives import Advertiser, reached
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.trained import Trained, truthful
from auctionlab.experiments.arena import Arena, Progress
from auctionlab.experiments.store import Store
from auctionlab.market.market import Market

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Promise:
    """What is compared."""

    arena: Arena = field(default_factory=Arena)
    """Worlds and settings."""


@dataclass(frozen=True)
class Result:
    """Profit of all ads relative to truthful bidding's, with intervals over seeds."""

    config: Promise
    """What was compared."""
    promised: Estimate
    """To ads each trained against fixed rivals, on the next day with rivals still fixed: the sum over ads."""
    delivered: Estimate
    """To the same ads when all deploy at once."""
    gap: Estimate
    """Promised less delivered, seed by seed."""
    together: Estimate
    """To ads that searched at once, each for itself."""


def run(
    config: Promise,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    store: Store | None = None,
) -> Result:
    """Train each ad alone, deploy all, and train all at once, in every seed's world."""
    kept = store or Store(None, config)
    found = []
    for seed in range(config.arena.seeds):
        found.append(kept.get(f"seed-{seed}", partial(compare, config, seed, threads)))
        if progress:
            progress(seed + 1, config.arena.seeds)
    columns = {name: [part[name] for part in found] for name in ("promised", "delivered", "together")}
    return Result(
        config,
        estimate(columns["promised"]),
        estimate(columns["delivered"]),
        paired(columns["promised"], columns["delivered"]),
        estimate(columns["together"]),
    )


def compare(config: Promise, seed: int, threads: int | None) -> dict[str, float]:
    """One seed's numbers."""
    arena = config.arena
    days, test = arena.days(seed)
    advertisers = arena.advertisers(days)
    game = arena.game(0.0)
    usual = float(reached(truthful(test, advertisers, arena.rules), advertisers).sum())
    alone: list[Trained] = []
    promised = 0.0
    for ad in range(len(advertisers)):
        fixed = [replace(who, manual=other != ad) for other, who in enumerate(advertisers)]
        alone.append(train(days, fixed, game, threads=threads))
        promised += float(reached(alone[-1].play(test, fixed), fixed)[ad])
    everyone = _all(alone, days[0], advertisers)
    together = train(days, advertisers, game, threads=threads)
    return {
        "promised": promised / usual,
        "delivered": float(reached(everyone.play(test, advertisers), advertisers).sum()) / usual,
        "together": float(reached(together.play(test, advertisers), advertisers).sum()) / usual,
    }


def _all(alone: Sequence[Trained], market: Market, advertisers: Sequence[Advertiser]) -> Trained:
    """Everyone with what it learned alone."""
    policies = Policies.of(market, advertisers)
    return replace(alone[0], policies=policies, theta=np.concatenate([one.theta for one in alone]))
