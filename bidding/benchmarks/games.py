"""How fast games are, on how many cores, and what memory a large one takes.

    python benchmarks/games.py
    python benchmarks/games.py --large --out benchmarks/results/games.json

A row is one search of 240 steps by 8 ads above a revenue floor. `--large` plays a step of 1,000 ads on a day
of a million auctions with 20 candidates each, and compares its memory with what docs/macg.md predicts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from auctionlab.evolution.games import train
from auctionlab.evolution.objectives import Advertiser
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.rollouts import Profiles, Table, Threads
from auctionlab.evolution.strategy import Search
from auctionlab.evolution.trained import truthful
from auctionlab.experiments.arena import Arena
from auctionlab.market.market import Market
from auctionlab.market.world import World


def rows(rounds: int) -> dict[str, float]:
    """Seconds of a floor row, medians, on one thread and on two, in turns."""
    arena = Arena()
    days, _ = arena.days(0)
    advertisers = arena.advertisers(days)
    game = arena.game(1.0, 0.9)
    train(days, advertisers, replace(game, search=Search(iterations=2)))
    taken: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for threads, times in taken.items():
            start = time.perf_counter()
            train(days, advertisers, game, threads=threads)
            times.append(time.perf_counter() - start)
    one, two = (statistics.median(times) for times in taken.values())
    return {"row_one_thread_s": one, "row_two_threads_s": two}


def scaling(rounds: int) -> dict[str, float]:
    """The profiles of one step on one thread and two, with a day of 24,000 auctions."""
    world = World(ads=8)
    day = world.day(1)
    table = _table(day, Arena())
    profiles = Profiles(Search(profiles=128), table.policies.truthful(), 0, 0.0)
    taken: dict[int, list[float]] = {1: [], 2: []}
    for threads in taken:
        Threads(table, threads)(0, profiles)
    for _ in range(rounds):
        for threads, times in taken.items():
            start = time.perf_counter()
            Threads(table, threads)(0, profiles)
            times.append(time.perf_counter() - start)
    ratios = [one / two for one, two in zip(taken[1], taken[2], strict=True)]
    return {
        "profile_auctions_per_second_one": profiles.count * day.auctions / statistics.median(taken[1]),
        "two_threads_over_one": statistics.median(ratios),
    }


def _table(day: Market, arena: Arena) -> Table:
    free = truthful(day, [Advertiser()] * day.ads, arena.rules)
    budgets = 0.8 * free[:, 3]
    advertisers = [Advertiser(budget=float(money)) for money in budgets]
    return Table((day,), Policies.of(day, advertisers), budgets, arena.rules)


def _resident(name: str) -> float:
    """A figure of this process's memory, in MB."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name)) / 1024


def predicted_mb(auctions: int, candidates: int, ads: int, profiles: int) -> float:
    """What docs/macg.md says a step takes: the day's arrays, and sums and weights of all profiles."""
    market = auctions * candidates * 44 + auctions * 24
    step = (profiles + 1) * ads * (6 + 2 * 3) * 8
    return (market + step) / 1e6


def large(auctions: int = 1_000_000, ads: int = 1_000, candidates: int = 20) -> dict[str, float]:
    """One step of a large game: seconds and memory."""
    before = _resident("VmRSS")
    start = time.perf_counter()
    day = World(ads=ads, keywords=2_000, auctions=auctions, candidates=candidates).day(1)
    drawn = time.perf_counter() - start
    table = _table(day, Arena())
    search = Search()
    profiles = Profiles(search, table.policies.truthful(), 0, 0.0)
    # From here on the peak is that of playing, not of drawing the day.
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    sums = Threads(table)(0, profiles)
    step = time.perf_counter() - start
    assert np.isfinite(sums).all()
    return {
        "draw_s": drawn,
        "step_s": step,
        "profile_auctions_per_second": profiles.count * auctions / step,
        "memory_mb": _resident("VmHWM") - before,
        "predicted_mb": predicted_mb(auctions, candidates, ads, search.profiles),
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (default %(default)s)")
    parser.add_argument("--large", action="store_true", help="also 1,000 ads on a million auctions")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": machine()}
    result |= {"row": rows(options.rounds), "scaling": scaling(options.rounds)}
    if options.large:
        result["large"] = large()
    for part in ("row", "scaling", "large"):
        for name, value in result.get(part, {}).items():
            print(f"{part:8s} {name:35s} {value:14,.2f}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
