"""SS-RTB's claim: what is learned per auction fails on the next day, what is learned per hour does not.

Each policy is planned on one day and tried on the next. Two things vary: how long a step is (100 auctions
or an hour) and what the action sets (the bid itself, or the multiplier of a predicted value). All but the
constants are exact plans of their decision process, so that learning is not in question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from auctionlab.auction.mechanism import Rules
from auctionlab.bids.grid import around
from auctionlab.bids.signals import Signal, keyword_bids
from auctionlab.evaluation.comparison import Estimate, KeywordBidding, estimate
from auctionlab.experiments.store import Store
from auctionlab.market.market import Market
from auctionlab.market.world import World
from auctionlab.optimum.dual import dual
from auctionlab.optimum.landscape import landscape, spending_multiplier
from auctionlab.optimum.plan import plan
from auctionlab.pacing.constant import Constant
from auctionlab.pacing.day import BiddingDay
from auctionlab.pacing.planned import Planned
from auctionlab.pacing.policy import Policy
from auctionlab.pacing.schedule import Paced, spending_path

POLICIES = {
    "amdp": "AMDP: bid, per 100 auctions",
    "multiplier-100": "multiplier per 100 auctions",
    "bid-hour": "bid per hour",
    "constant": "constant multiplier",
    "paced": "paced multiplier",
    "rmdp": "RMDP: multiplier per hour",
}
"""The policies of the table, in its order."""


@dataclass(frozen=True)
class DayShift:
    """What is compared. The ad is number 0 of the world."""

    world: World = field(default_factory=World)
    """The world; each seed has one of its own, alike in all but chance."""
    rules: Rules = field(default_factory=lambda: Rules(positions=(1.0, 0.7, 0.5)))
    """Rules of the auctions."""
    seeds: int = 4
    """Worlds, each with a day to plan on and a day to test on."""
    realized: bool = False
    """Whether the training day's purchases are those that chance drew, or expected ones."""
    step: int = 100
    """Auctions in a step of the auction-level policies."""
    grid: int = 41
    """Multipliers to choose from."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"at least one seed is needed, not {self.seeds}")


@dataclass(frozen=True)
class Gain:
    """Percent more purchases' worth than keyword bids, at the same cost."""

    train: float
    """On the day it was planned on."""
    test: float
    """On the next."""


@dataclass(frozen=True)
class Row:
    """One policy over all seeds."""

    policy: str
    """Its key in POLICIES."""
    train: Estimate
    """Gain on training days."""
    test: Estimate
    """Gain on test days."""


@dataclass(frozen=True)
class Result:
    """The table."""

    config: DayShift
    """What was compared."""
    rows: tuple[Row, ...]
    """A row for each policy."""
    hindsight: Row
    """What no policy exceeds: the dual bound of each day."""
    gains: dict[str, tuple[Gain, ...]]
    """Gains of each policy, seed by seed."""


SCENARIOS: dict[str, tuple[str, Callable[[DayShift], DayShift]]] = {
    "same": ("bursts in the same order", lambda config: _with_world(config, bursts_move=False)),
    "elsewhere": ("bursts elsewhere", lambda config: config),
    "unbalanced": (
        "bursts elsewhere, not balanced within the hour",
        lambda c: _with_world(c, balanced=False),
    ),
    "realized": ("bursts elsewhere, purchases realized", lambda config: replace(config, realized=True)),
    "eta": ("bursts elsewhere, hours 30 % off", lambda config: _with_world(config, level_noise=0.3)),
}
"""What differs between the two days: name, description, and the change of the configuration."""


def _with_world(config: DayShift, **changes: Any) -> DayShift:
    return replace(config, world=replace(config.world, **changes))


def run(
    config: DayShift,
    progress: Callable[[int, int], None] | None = None,
    *,
    threads: int = 2,
    store: Store | None = None,
) -> Result:
    """Plan and test every policy on every seed's world.

    `progress(done, all)` is called after each seed. The result does not depend on the number of threads.
    Seeds that the store has are not computed again.
    """
    if threads < 1:
        raise ValueError(f"at least one thread is needed, not {threads}")
    kept = store or Store(None, config)

    def one(seed: int) -> dict[str, Gain]:
        found = kept.get(f"seed-{seed}", lambda: compare(config, seed))
        return {name: Gain(**gain) for name, gain in found.items()}

    found: list[dict[str, Gain]] = []
    with ThreadPoolExecutor(threads) as pool:
        for gains in pool.map(one, range(config.seeds)):
            found.append(gains)
            if progress:
                progress(len(found), config.seeds)
    columns = {name: tuple(gains[name] for gains in found) for name in found[0]}
    rows = {name: _row(name, column) for name, column in columns.items()}
    hindsight = rows.pop("hindsight")
    return Result(config, tuple(rows.values()), hindsight, columns)


def _row(name: str, column: Sequence[Gain]) -> Row:
    return Row(name, estimate([gain.train for gain in column]), estimate([gain.test for gain in column]))


def compare(config: DayShift, seed: int) -> dict[str, Gain]:
    """All policies' gains in one seed's world."""
    world = replace(config.world, seed=config.world.seed + seed)
    train, test = world.day(1), world.day(2)
    rules = config.rules
    keyword = keyword_bids(train, 0)
    # Chance draws the training day's purchases; policies are tried in expectation on the test day.
    chance = seed if config.realized else None
    learned = KeywordBidding(train, 0, keyword, rules, seed=chance)
    tested = KeywordBidding(test, 0, keyword, rules)

    def gain(policy: Policy, signal: Signal, division: Callable[[Market], Market]) -> Gain:
        on_train = BiddingDay(division(train), 0, rules=rules, signal=signal, seed=chance)
        on_test = BiddingDay(division(test), 0, rules=rules, signal=signal)
        first = on_train.follow(policy, learned.cost).of(0)
        second = on_test.follow(policy, tested.cost).of(0)
        return Gain(
            learned.relative_gain(first["gmv"], first["cost"]),
            tested.relative_gain(second["gmv"], second["cost"]),
        )

    def hourly(market: Market) -> Market:
        return market

    def by_auctions(market: Market) -> Market:
        return market.divided(config.step)

    gains = {}
    for name, signal, division in (
        ("amdp", Signal.FLAT, by_auctions),
        ("multiplier-100", Signal.MODEL, by_auctions),
        ("bid-hour", Signal.FLAT, hourly),
        ("rmdp", Signal.MODEL, hourly),
    ):
        center = spending_multiplier(train, 0, learned.cost, rules, signal=signal)
        grid = around(center, count=config.grid)
        responses = landscape(division(train), 0, grid, rules, signal=signal, seed=chance)
        gains[name] = gain(Planned(plan(responses, learned.cost)), signal, division)
        if name == "rmdp":
            gains["constant"] = gain(Constant(center), signal, division)
            path = spending_path(responses, center)
            gains["paced"] = gain(Paced(center, path), signal, division)
    bounds = [
        baseline.relative_gain(dual(day, 0, baseline.cost, rules).bound, baseline.cost)
        for day, baseline in ((train, KeywordBidding(train, 0, keyword, rules)), (test, tested))
    ]
    ordered = {name: gains[name] for name in POLICIES}
    return {**ordered, "hindsight": Gain(*bounds)}
