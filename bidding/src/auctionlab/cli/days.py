"""Options that say which days and rules a command is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.logs.table import read
from auctionlab.market.market import Market
from auctionlab.market.world import World

_WORLD = World()
_RULES = Rules(positions=(1.0, 0.7, 0.5))


def add_day_arguments(parser: argparse.ArgumentParser, *, training: bool = False) -> None:
    """Options of a day: a log, or a world and a seed."""
    group = parser.add_argument_group("days")
    group.add_argument("--log", type=Path, metavar="FILE", help="a canonical log (Parquet or CSV) as the day")
    if training:
        group.add_argument(
            "--test-log", type=Path, metavar="FILE", help="a canonical log as the day to test on"
        )
    group.add_argument("--ads", type=int, default=_WORLD.ads, help="ads of the world (default %(default)s)")
    group.add_argument(
        "--auctions", type=int, default=_WORLD.auctions, help="auctions a day (default %(default)s)"
    )
    group.add_argument(
        "--keywords", type=int, default=_WORLD.keywords, help="keywords of the world (default %(default)s)"
    )
    group.add_argument(
        "--candidates",
        type=int,
        default=None,
        metavar="N",
        help="ads that compete in an auction (default all)",
    )
    group.add_argument(
        "--world", type=int, default=0, metavar="SEED", help="which world (default %(default)s)"
    )
    group.add_argument("--day", type=int, default=1, metavar="SEED", help="which day (default %(default)s)")


def add_rule_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the auctions' rules."""
    group = parser.add_argument_group("rules")
    group.add_argument(
        "--mechanism",
        choices=[mechanism.value for mechanism in Mechanism],
        default=_RULES.mechanism.value,
        help="how clicks are priced (default %(default)s)",
    )
    group.add_argument(
        "--positions",
        default=",".join(f"{effect:g}" for effect in _RULES.positions),
        metavar="1,0.7,...",
        help="click factor of each position from the top (default %(default)s)",
    )
    group.add_argument(
        "--reserve", type=float, default=_RULES.reserve, help="least price of a click (default %(default)s)"
    )


def world(options: argparse.Namespace) -> World:
    """The world that options describe."""
    return World(
        ads=options.ads,
        auctions=options.auctions,
        keywords=options.keywords,
        candidates=options.candidates,
        seed=options.world,
    )


def day(options: argparse.Namespace) -> Market:
    """The day that options describe."""
    return read(options.log).market if options.log is not None else world(options).day(options.day)


def rules(options: argparse.Namespace) -> Rules:
    """The rules that options describe."""
    try:
        positions = tuple(float(part) for part in options.positions.split(","))
    except ValueError:
        raise ValueError(
            f"--positions must be numbers with commas, as 1,0.7,0.5, not {options.positions!r}"
        ) from None
    return Rules(Mechanism(options.mechanism), positions, options.reserve)
