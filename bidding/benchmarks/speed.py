"""How fast the core is: auctions a second, beside AuctionNet's and AuctionGym's where their code is at hand.

    python benchmarks/speed.py
    python benchmarks/speed.py --auctionnet PATH --auctiongym PATH --out benchmarks/results/speed.json

All figures come from one run on one core, each the median of several rounds, peers and ours in turns. Speeds
of peers are printed as ratios. Their code is read from a path and never copied.
"""

from __future__ import annotations

import argparse
import collections
import collections.abc
import importlib
import importlib.util
import json
import resource
import statistics
import sys
import time
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
from machine import machine

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Rules
from auctionlab.market.market import Market


@dataclass(frozen=True)
class Speed:
    """One figure."""

    name: str
    """What was cleared."""
    per_second: float
    """Auctions a second, the median of the rounds."""


def market(auctions: int, ads: int, *, per_click: bool = True, seed: int = 0) -> Market:
    """A day on which every ad competes in every auction. AuctionNet's are not paid per click, but shown."""
    chance = np.random.default_rng(seed)
    count = auctions * ads

    def evenly(high: float) -> np.ndarray:
        drawn = chance.random(count, np.float32)
        drawn *= np.float32(high)
        return drawn

    return Market.of(
        offsets=np.arange(auctions + 1) * ads,
        ad=np.tile(np.arange(ads, dtype=np.int32), auctions),
        click=evenly(0.2) if per_click else 1.0,
        conversion=evenly(0.1),
        bid=evenly(2.0),
        hour=np.arange(auctions) * 24 // auctions,
    )


def median_time(call: Callable[[], object], rounds: int) -> float:
    """Median seconds of a call, after one that is not counted."""
    call()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def own(rounds: int) -> list[Speed]:
    """The core at 50 ads and 4 positions, budgets slack and binding; and at 48 x 3."""
    day = market(200_000, 50)
    spent = clear(day).cost.sum(axis=0)
    found = []
    for name, share in (("50 ads x 4, budgets slack", np.inf), ("50 ads x 4, budgets binding", 0.5)):
        budgets = spent * share
        found.append(Speed(name, day.auctions / median_time(lambda b=budgets: clear(day, None, b), rounds)))  # type: ignore[misc]
    other = market(200_000, 48)
    rules = Rules(positions=(1.0, 0.8, 0.6))
    budgets = clear(other, rules=rules).cost.sum(axis=0) * 0.5
    seconds = median_time(lambda: clear(other, None, budgets, rules, seed=1), rounds)
    found.append(Speed("48 ads x 3, drawn clicks, budgets binding", other.auctions / seconds))
    return found


def period() -> dict[str, float]:
    """A period of AuctionNet's size, 500,000 x 48 x 3 in 48 ticks: drawn, and cleared with budgets."""
    rules = Rules(positions=(1.0, 0.8, 0.6))
    clear(market(100, 48, per_click=False), rules=rules, seed=1)
    start = time.perf_counter()
    day = market(500_000, 48, per_click=False)
    drawn = time.perf_counter()
    clear(day, None, np.full(48, 1_000.0), rules, seed=1)
    cleared = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"draw_s": drawn - start, "clear_s": cleared - drawn, "peak_mb": peak}


class _Truthful:
    """What AuctionGym's auction asks of a bidder, in the cheapest way: only its auction is timed."""

    def __init__(self, number: int) -> None:
        self.name, self.number, self.allocator, self.logs = str(number), number, None, [self]

    def bid(self, context: object) -> tuple[float, int]:
        """A bid and an item."""
        return 1.0 + 0.01 * self.number, 0

    def set_true_CTR(self, best: float, chosen: float) -> None:  # noqa: N802  (their name)
        """Nothing is logged."""

    def charge(self, price: float, second_price: float, outcome: bool) -> None:
        """Nothing is learned."""

    def set_price(self, price: float) -> None:
        """Nothing is learned."""


def auctiongym(path: Path, rounds: int, auctions: int = 500) -> float:
    """AuctionGym's auction with 50 agents of one item and one or two positions, in auctions a second."""
    sys.path.insert(0, str(path / "src"))
    auction = importlib.import_module("Auction")
    allocation = importlib.import_module("AuctionAllocation")
    agents = [_Truthful(number) for number in range(50)]
    items = {agent.name: np.full((1, 6), 0.1) for agent in agents}
    values = {agent.name: np.ones(1) for agent in agents}
    chance = np.random.default_rng(0)
    game = auction.Auction(chance, allocation.SecondPrice(), agents, items, values, 2, 5, 1.0, 4, 50)
    return auctions / median_time(lambda: [game.simulate_opportunity() for _ in range(auctions)], rounds)


def auctionnet(path: Path, rounds: int, views: int = 10_000) -> tuple[float, float]:
    """AuctionNet's environment: a tick of 10,000 page views x 48 x 3, in page views a second.

    First its auction alone; then with budgets of half of what would be spent, by its own rule: bids of those
    who overspend are zeroed at random and the tick is run again, until nobody does. What it imports for
    configuration files and bookkeeping is replaced by stand-ins.
    """
    stub: Any = types.ModuleType("gin")
    stub.configurable = lambda value: value
    sys.modules.setdefault("gin", stub)
    for name in ("psutil", *(f"simul_bidding_env.{part}" for part in _BOOKKEEPING)):
        sys.modules.setdefault(name, MagicMock())
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
    rules = _module("auctionnet_rules", path / "run" / "run_test.py")
    module = _module("auctionnet_env", path / "simul_bidding_env" / "Environment" / "BiddingEnv.py")
    environment = module.BiddingEnv()
    environment.reset(0)
    chance = np.random.default_rng(0)
    values, bids = chance.random((views, 48)) * 0.1, chance.random((views, 48))
    sigmas = np.full((views, 48), 0.01)

    def run(offers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, slot, cost, exposed, *_ = environment.simulate_ad_bidding(values, sigmas, offers)
        return slot, (cost * exposed).sum(axis=1)

    budgets = run(bids)[1] * 0.5

    def with_budgets() -> None:
        offers = bids.copy()
        while True:
            slot, cost = run(offers)
            over = np.maximum((cost - budgets) / (cost + 1e-4), 0)
            if over.max() <= 0:
                return
            rules.adjust_over_cost(offers, over, environment.slot_coefficients, rules.get_winner(slot))

    return views / median_time(lambda: run(bids), rounds), views / median_time(with_budgets, rounds)


_BOOKKEEPING = ("Tracker.BiddingTracker", "Tracker.PlayerAnalysis", "Controller.Controller")


def _module(name: str, file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (default %(default)s)")
    parser.add_argument("--auctiongym", type=Path, help="a checkout of amazon-science/auction-gym")
    parser.add_argument("--auctionnet", type=Path, help="a checkout of alimama-tech/AuctionNet")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "period": period(),
        "core": [asdict(speed) for speed in own(options.rounds)],
        "peers": {},
    }
    for speed in result["core"]:
        print(f"{speed['name']:45s}{speed['per_second'] / 1e6:8.2f} M auctions/s")
    facts = result["period"]
    print(
        f"500,000 x 48 x 3, drawn and cleared: {facts['draw_s']:.2f} + {facts['clear_s']:.2f} s, "
        f"peak {facts['peak_mb']:.0f} MB"
    )
    if options.auctiongym:
        theirs = auctiongym(options.auctiongym, options.rounds)
        ratio = result["core"][1]["per_second"] / theirs
        result["peers"]["AuctionGym"] = {"per_second": theirs, "ratio": ratio}
        print(f"AuctionGym, 50 agents, one position: {theirs:,.0f}/s; the core is {ratio:,.0f} times as fast")
    if options.auctionnet:
        names = ("AuctionNet, 48 x 3", "AuctionNet, 48 x 3, budgets binding")
        for name, theirs in zip(names, auctionnet(options.auctionnet, options.rounds), strict=True):
            ratio = result["core"][2]["per_second"] / theirs
            result["peers"][name] = {"per_second": theirs, "ratio": ratio}
            print(f"{name}: {theirs:,.0f}/s; the core is {ratio:,.0f} times as fast")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
