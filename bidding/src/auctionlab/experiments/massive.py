"""Many ads that learn at once: each for itself, and with a share of everyone's reward.

Revenue stands beside every gain: what cooperating ads gain may be what the platform loses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from auctionlab.agents.dqn import Options
from auctionlab.agents.massive import Progress, train
from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.environments.contest import Contest, Contestants
from auctionlab.experiments.store import Store
from auctionlab.market.world import World


@dataclass(frozen=True)
class Massive:
    """What is learned: all ads of a world choose, with budgets below what their standing bids would spend."""

    world: World = field(default_factory=lambda: World(ads=100, keywords=40, auctions=24_000, candidates=15))
    """The world."""
    rules: Rules = field(default_factory=lambda: Rules(positions=(1.0, 0.7, 0.5)))
    """Rules of the auctions."""
    options: Options = field(
        default_factory=lambda: Options(episodes=120, batch=64, memory=2_000, warmup=200, layers=(32, 32))
    )
    """How to learn."""
    weights: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Weights of the common reward to try."""
    budget_share: float = 0.6
    """Each ad's budget as a share of what its standing bids spend without one."""

    def __post_init__(self) -> None:
        if not 0 < self.budget_share < np.inf:
            raise ValueError(f"budget_share must be above 0, not {self.budget_share}")
        if not self.weights or not all(0 <= weight <= 1 for weight in self.weights):
            raise ValueError(f"weights must lie between 0 and 1, not {self.weights}")


@dataclass(frozen=True)
class Row:
    """The day after training, with one way of bidding for all ads."""

    name: str
    """Which."""
    gain: float
    """Purchases' worth of all ads, relative to the standing bids'."""
    cost: float
    """The platform's revenue, relative to the standing bids'."""
    gain_per_cost: float
    """The paper's measure, PUR / C, relative to the standing bids'."""


@dataclass(frozen=True)
class Result:
    """The table."""

    config: Massive
    """What was learned."""
    rows: tuple[Row, ...]
    """Standing bids first, then the constant multiplier, then a row for each weight."""


def run(
    config: Massive,
    progress: Callable[[int, int], None] | None = None,
    *,
    device: str = "cpu",
    store: Store | None = None,
) -> Result:
    """Train all ads on one day for each weight, and try them on the next.

    `progress(done, all)` counts episodes over all weights.
    """
    kept = store or Store(None, config)
    days = config.world.day(1), config.world.day(2)
    unlimited = clear(days[0], rules=config.rules)
    budgets = np.maximum(config.budget_share * unlimited.cost.sum(axis=0), 1e-6)
    standing = clear(days[1], None, budgets, config.rules)
    rows = [_row("standing bids", standing, standing)]
    scaled = clear(days[1], days[1].bid * config.budget_share, budgets, config.rules)
    rows.append(_row("standing bids, scaled by the share of money", scaled, standing))
    done = 0
    for weight in config.weights:

        def one(weight: float = weight, done: int = done) -> Row:
            contestants = Contestants(tuple(range(config.world.ads)), tuple(budgets.tolist()), weight)

            def tell(state: Progress) -> None:
                if progress:
                    progress(done + state.episode, config.options.episodes * len(config.weights))

            contest = Contest([days[0]], contestants, rules=config.rules)
            agents = train(contest, config.options, progress=tell, device=device)
            tried = Contest([days[1]], contestants, rules=config.rules, grid=contest.grid)
            tried.usual = contest.usual
            return _row(f"M-RMDP, weight {weight:g}", agents.play(tried), standing)

        rows.append(Row(**kept.get(f"weight-{weight:g}", one)))
        done += config.options.episodes
    return Result(config, tuple(rows))


def _row(name: str, outcome: Outcome, standing: Outcome) -> Row:
    gain = outcome.welfare / standing.welfare
    cost = outcome.revenue / standing.revenue
    return Row(name, gain, cost, gain / cost if cost > 0 else float("nan"))
