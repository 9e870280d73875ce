"""Bad inputs without end: each must be taken or refused in a sentence, never end in anything else.

python -m tests.fuzzing --count 10000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.markets import STYLES, random_budgets, random_market

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.reference import clear_by_definition
from auctionlab.cli.main import main
from auctionlab.environments.contest import Contest, Contestants
from auctionlab.environments.hourly import HourlyBidding
from auctionlab.evolution import games
from auctionlab.evolution.objectives import Advertiser
from auctionlab.evolution.strategy import Search
from auctionlab.evolution.trained import Game, Trained
from auctionlab.logs import auctionnet, avito, criteo, ipinyou, table
from auctionlab.market.market import Market
from auctionlab.market.world import World
from auctionlab.optimum.dual import dual
from auctionlab.optimum.program import program

REFUSALS = (ValueError, OSError, RuntimeError)
"""What the documentation says that bad input raises."""

ODD: list[Any] = [
    0, 1, -1, 2, 7, 10**6, -(10**9), 2**63, 0.5, -0.5, 1e-300, 1e300, 1e12, 1e-12, float("nan"), float("inf"),
    float("-inf"), True, None, "", "x", "1", [], [0], [0.5, 0.5], [float("nan")], (1.0,), (1.0, 2.0), {},
]  # fmt: skip

# Where the type says a number: what is not one is mypy's to find.
NUMBERS: list[Any] = [value for value in ODD if type(value) in (int, float)]
WHOLE: list[Any] = [value for value in ODD if type(value) is int]

WORDS = [
    "simulate",
    "optimum",
    "convert",
    "replay",
    "info",
    "demo",
    "experiment",
    "evaluate",
    "train",
    "--ads",
    "--budget",
    "--positions",
    "--reserve",
    "--mechanism",
    "--log",
    "--json",
    "--ad",
    "--day",
    "--chance",
    "--rows",
    "--out",
    "--ppc-limit",
    "1",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "gsp",
    "vcg",
    "x",
    "1,0.5",
    "1,2",
    ",",
    "none.csv",
    "/",
    "canonical",
    "rmdp",
    "macg",
    "report",
    "collusion",
    "--floors",
    "--cooperation",
    "day-shift",
    "--seeds",
    "--world",
    "--keywords",
    "--candidates",
    "é",
    "\x00",
]

GOOD_LINE = "auction,time,keyword,ad,click_rate,conversion_rate,price,bid"


def odd(chance: np.random.Generator) -> Any:
    return ODD[chance.integers(len(ODD))]


def number(chance: np.random.Generator) -> Any:
    return NUMBERS[chance.integers(len(NUMBERS))]


def whole(chance: np.random.Generator) -> Any:
    return WHOLE[chance.integers(len(WHOLE))]


def market(chance: np.random.Generator) -> None:
    three = [0.1, 0.2, 0.3]
    arrays: dict[str, Any] = {name: three for name in ("click", "conversion", "price", "bid", "predicted")}
    arrays |= {"offsets": [0, 2, 3], "ad": [0, 1, 0], "hour": [0, 1], "keyword": [0, 1], "ads": 2, "hours": 2}
    for _ in range(chance.integers(1, 4)):
        name = list(arrays)[chance.integers(len(arrays))]
        value = arrays[name]
        if isinstance(value, list) and value and chance.random() < 0.7:
            value = list(value)
            value[chance.integers(len(value))] = odd(chance)
            arrays[name] = value
        else:
            arrays[name] = whole(chance) % 100 if name in ("ads", "hours") else odd(chance)
    clear(Market.of(**arrays))


def rules(chance: np.random.Generator) -> None:
    positions = tuple(number(chance) for _ in range(chance.integers(0, 4)))
    Rules(list(Mechanism)[chance.integers(3)], positions, number(chance))


def world(chance: np.random.Generator) -> None:
    counts = ("ads", "keywords", "candidates", "segments", "seed")
    amounts = ("price", "hour_swing", "level_noise", "burst", "burst_share", "bid_spread")
    changes = {
        counts[chance.integers(5)]: whole(chance) % 1000 - 2,
        amounts[chance.integers(6)]: number(chance),
    }
    World(auctions=50, **changes).day(1)


DAY = World(auctions=120, ads=4).day(1)


def bidding(chance: np.random.Generator) -> None:
    call: list[Callable[[], Any]] = [
        lambda: clear(DAY, odd(chance)),
        lambda: clear(DAY, None, odd(chance)),
        lambda: clear(DAY, None, [odd(chance) for _ in range(4)]),
        lambda: clear(DAY, seed=whole(chance)),
        lambda: dual(DAY, whole(chance), 5.0),
        lambda: dual(DAY, 0, number(chance)),
        lambda: program(DAY, 0, 5.0, ppc_limit=number(chance)),
        lambda: HourlyBidding([DAY], budget=number(chance)),
        lambda: HourlyBidding([DAY], budget=5.0, grid=odd(chance)),
        lambda: HourlyBidding([DAY], ad=whole(chance), budget=5.0),
        lambda: _step(odd(chance)),
        lambda: Contest([DAY], Contestants((0, whole(chance)), (5.0,) * 4)),
        lambda: Contest([DAY], Contestants((0, 1), (5.0, number(chance), 1.0, 1.0))),
    ]
    call[chance.integers(len(call))]()


def _step(action: Any) -> None:
    environment = HourlyBidding([DAY], budget=5.0, grid=[0.5, 1.0])
    environment.reset()
    environment.step(action)


def game(chance: np.random.Generator) -> None:
    """Odd settings, odd advertisers, and torn files of what was learned."""
    if GAMES.get("whole") is None:
        with tempfile.TemporaryDirectory() as folder:
            state, out = Path(folder) / "state", Path(folder) / "game.json"
            who = [Advertiser(budget=5.0)] * 4
            games.train([DAY], who, SHORT, threads=1, checkpoint=state).save(out, who)
            GAMES["state"], GAMES["whole"] = state.read_bytes(), out.read_bytes()
    kind = chance.integers(4)
    if kind == 0:
        who = [Advertiser(budget=number(chance), ppc_limit=number(chance)) for _ in range(4)]
        games.train([DAY], who, SHORT, threads=1)
    elif kind == 1:
        played = Game(
            cooperation=number(chance),
            floor=number(chance),
            search=Search(profiles=2, iterations=2, spread=number(chance), rate=number(chance)),
        )
        games.train([DAY], [Advertiser(budget=5.0)] * 4, played, threads=1)
    else:
        name = ("state", "whole")[kind - 2]
        torn = bytearray(GAMES[name])
        for _ in range(chance.integers(1, 4)):
            torn[chance.integers(len(torn))] = chance.integers(256)
        if chance.random() < 0.3:
            del torn[int(chance.integers(len(torn))) :]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(bytes(torn))
            if name == "whole":
                Trained.read(path)
            else:
                games.train([DAY], [Advertiser(budget=5.0)] * 4, SHORT, checkpoint=path, resume=True)


GAMES: dict[str, bytes] = {}
SHORT = Game(search=Search(profiles=2, iterations=2))


def log(chance: np.random.Generator) -> None:
    lines = [GOOD_LINE] + [f"{row // 2},{row},{row % 3},{row % 2},0.1,0.2,3,{row}" for row in range(8)]
    text = bytearray("\n".join(lines).encode())
    for _ in range(chance.integers(1, 6)):
        where = int(chance.integers(len(text)))
        kind = chance.integers(3)
        if kind == 0:
            text[where] = chance.integers(256)
        elif kind == 1:
            del text[where : where + int(chance.integers(1, 12))]
        else:
            text[where:where] = bytes(str(odd(chance)), "utf-8")
        if not text:
            break
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ["log.csv", "log.parquet", "log.csv.gz", "log.txt"][chance.integers(4)]
        path.write_bytes(bytes(text))
        others = [ipinyou.read_prepared, ipinyou.read_raw, ipinyou.read_training]
        readers: list[Callable[[Path], object]] = [table.read] * 3
        readers += [*others, auctionnet.read, avito.read, criteo.read]
        readers[chance.integers(len(readers))](path)


def command(chance: np.random.Generator) -> None:
    words = [WORDS[chance.integers(len(WORDS))] for _ in range(chance.integers(0, 6))]
    if words[:1] in (["demo"], ["experiment"], ["train"], ["simulate"], ["optimum"]):
        # Whole runs are for other tests; here only what is wrong with the words.
        words += ["--no-such-option"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    assert status in (0, 2), f"status {status} of {words}"


KINDS = (market, rules, world, bidding, game, log, command)


def run(count: int, seed: int = 0) -> Counter[str]:
    """Try `count` bad inputs; how many of each kind were taken and refused. Anything else is raised."""
    told: Counter[str] = Counter()
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        chance = np.random.default_rng([seed, index])
        refusal = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kind(chance)
        except REFUSALS as error:
            refusal = str(error)
        except BaseException as error:
            raise AssertionError(
                f"{kind.__name__}, input {index}: {type(error).__name__}: {error}"
            ) from error
        assert refusal is None or refusal.strip(), f"{kind.__name__} {index} was refused without a word"
        told[f"{kind.__name__} {'taken' if refusal is None else 'refused'}"] += 1
    return told


def laws(count: int) -> None:
    """The core against its definition, whole days against days cut anywhere, spending against budgets."""
    for seed in range(count):
        chance = np.random.default_rng([7, seed])
        style = STYLES[chance.integers(len(STYLES))]
        day = random_market(seed, style, auctions=12, ads=int(chance.integers(1, 9)))
        budgets = random_budgets(day, seed)
        effects = (1.0, *sorted(chance.choice([0.0, 0.2, 0.5, 0.7, 1.0], chance.integers(4)), reverse=True))
        reserve = 0.0 if style in ("tiny", "huge") else float(chance.choice([0.0, 0.5]))
        given = Rules(list(Mechanism)[chance.integers(3)], effects, reserve)
        drawn = int(chance.integers(100)) if chance.random() < 0.5 else None
        whole = clear(day, None, budgets, given, seed=drawn)
        defined = clear_by_definition(day, None, budgets, given, seed=drawn)
        money = 1e-12 * float(day.bid.max(initial=0.0))
        np.testing.assert_allclose(whole.sums, defined.sums, rtol=1e-9, atol=max(money, 1e-12))
        cut = int(chance.integers(day.auctions + 1))
        left, sums = budgets, np.zeros_like(whole.sums)
        for piece in (day.piece(0, cut), day.piece(cut, day.auctions)):
            part = clear(piece, None, left, given, seed=drawn)
            left, sums = part.left, sums + part.sums
        np.testing.assert_array_equal(left, whole.left)
        assert (whole.left >= 0).all(), f"market {seed}: more was spent than there was"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000, help="bad inputs")
    parser.add_argument("--markets", type=int, default=0, help="random markets in which laws must hold")
    options = parser.parse_args()
    for name, times in sorted(run(options.count).items()):
        print(f"{name:20s}{times:7d}")
    laws(options.markets)
    print(f"laws hold in        {options.markets:7d} markets")
