"""How well DQN learns the hourly process, beside the exact plan, with and without the price of money."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from auctionlab.agents.dqn import Options
from auctionlab.agents.robust import train
from auctionlab.auction.mechanism import Rules
from auctionlab.bids.signals import keyword_bids
from auctionlab.environments.hourly import HourlyBidding
from auctionlab.evaluation.comparison import Estimate, KeywordBidding, estimate
from auctionlab.experiments.store import Store
from auctionlab.market.world import World
from auctionlab.optimum.landscape import landscape, spending_multiplier
from auctionlab.optimum.plan import plan
from auctionlab.pacing.constant import Constant
from auctionlab.pacing.day import BiddingDay
from auctionlab.pacing.planned import Planned
from auctionlab.pacing.policy import Policy


@dataclass(frozen=True)
class LearningCurve:
    """What is learned. The ad is number 0 of each seed's world."""

    world: World = field(default_factory=World)
    """The world; each seed has one of its own."""
    rules: Rules = field(default_factory=lambda: Rules(positions=(1.0, 0.7, 0.5)))
    """Rules of the auctions."""
    options: Options = field(default_factory=Options)
    """How to learn."""
    seeds: int = 10
    """Worlds."""
    unshaped: bool = True
    """Whether to learn without the price of money too."""
    try_every: int = 20
    """Episodes between trials."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"at least one seed is needed, not {self.seeds}")


@dataclass(frozen=True)
class Learned:
    """One seed's gains over keyword bids at equal cost, in percent, on the training day and the next."""

    dqn: tuple[float, float]
    """Learned with the price of money."""
    unshaped: tuple[float, float] | None
    """Learned without."""
    plan: tuple[float, float]
    """The exact plan of the training day."""
    constant: tuple[float, float]
    """The constant multiplier that spends the training day's budget."""
    curve: tuple[tuple[int, float], ...]
    """Episodes, and the share of the plan's training gain (money, not percent) reached then."""


@dataclass(frozen=True)
class Result:
    """All seeds."""

    config: LearningCurve
    """What was learned."""
    seeds: tuple[Learned, ...]
    """Seed by seed."""
    share: Estimate
    """DQN's share of the plan's test gain; a mean over seeds."""
    beats_constant: int
    """Seeds in which DQN's test gain is above the constant's."""


def run(
    config: LearningCurve, progress: Callable[[int, int], None] | None = None, *, store: Store | None = None
) -> Result:
    """Learn in every seed's world. `progress(done, all)` is called after each; stored seeds are kept."""
    kept = store or Store(None, config)
    found = []
    for seed in range(config.seeds):

        def one(seed: int = seed) -> Learned:
            return learn(config, seed)

        found.append(_learned(kept.get(f"seed-{seed}", one)))
        if progress:
            progress(len(found), config.seeds)
    return Result(
        config,
        tuple(found),
        estimate([seed.dqn[1] / seed.plan[1] for seed in found]),
        sum(seed.dqn[1] > seed.constant[1] for seed in found),
    )


def _learned(stored: dict[str, Any]) -> Learned:
    def pair(name: str) -> tuple[float, float]:
        train, test = stored[name]
        return float(train), float(test)

    return Learned(
        dqn=pair("dqn"),
        unshaped=None if stored["unshaped"] is None else pair("unshaped"),
        plan=pair("plan"),
        constant=pair("constant"),
        curve=tuple((int(episode), float(share)) for episode, share in stored["curve"]),
    )


def learn(config: LearningCurve, seed: int) -> Learned:
    """One seed: learn on day 1, try on days 1 and 2."""
    world = replace(config.world, seed=config.world.seed + seed)
    days = world.day(1), world.day(2)
    rules = config.rules
    keyword = keyword_bids(days[0], 0)
    yardsticks = [KeywordBidding(day, 0, keyword, rules) for day in days]
    budget = yardsticks[0].cost

    def gains(policy: Policy) -> tuple[float, float]:
        found = []
        for day, yardstick in zip(days, yardsticks, strict=True):
            got = BiddingDay(day, 0, rules=rules).follow(policy, yardstick.cost).of(0)
            found.append(yardstick.relative_gain(got["gmv"], got["cost"]))
        return found[0], found[1]

    environment = HourlyBidding([days[0]], budget=budget, rules=rules)
    trained = train(environment, config.options, try_every=config.try_every)
    planned = plan(landscape(days[0], 0, environment.grid, rules), budget)
    best = float(planned.values[0, -1])
    unshaped = None
    if config.unshaped:
        plainly = HourlyBidding([days[0]], budget=budget, rules=rules, price_of_money=0.0)
        unshaped = gains(train(plainly, config.options, try_every=config.try_every).agent)
    return Learned(
        dqn=gains(trained.agent),
        unshaped=unshaped,
        plan=gains(Planned(planned)),
        constant=gains(Constant(spending_multiplier(days[0], 0, budget, rules))),
        curve=tuple((episode, gain / best) for episode, gain in trained.curve),
    )
