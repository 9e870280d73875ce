"""The day shift and collusion on a few worlds: two tables, and a picture in demo.png.

Examples:
  auctionlab demo
  auctionlab demo --seeds 2 --out picture.png

"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from auctionlab.cli import showing
from auctionlab.cli.output import print_json, progress
from auctionlab.evaluation import figures
from auctionlab.evaluation.sections import Section
from auctionlab.experiments.arena import Arena
from auctionlab.experiments.collusion import Collusion
from auctionlab.experiments.collusion import run as run_collusion
from auctionlab.experiments.day_shift import DayShift
from auctionlab.experiments.day_shift import run as run_day_shift


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--seeds", type=int, default=4, help="worlds (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo.png"), help="the picture (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Run the experiments."""
    shift = run_day_shift(DayShift(seeds=options.seeds), progress("day shift"))
    arena = Arena(seeds=min(options.seeds, 2))
    games = run_collusion(Collusion(arena, floors=(0.8, 0.95, 1.1)), progress("collusion"))
    title = "Planned on one day, tried on the next: gain over keyword bids at equal cost"
    figures.save(options.out, showing.gain_bars(title, shift), showing.revenue_bars(games))
    if options.json:
        print_json({"day_shift": [*shift.rows, shift.hindsight], "collusion": games.rows})
        return
    first = Section(
        f"Each policy is planned on one day and tried on the next; {options.seeds} worlds, 95 % intervals.",
        showing.GAIN_HEADERS,
        showing.gains(shift),
        "What is learned per auction fails on the next day; per hour it holds.",
    )
    second = replace(
        showing.show_collusion(games).sections[0],
        note=f"Cooperation collapses the platform's revenue; a floor holds it. Picture: {options.out}",
    )
    print(f"{first.text()}\n\n{second.text()}")
