"""The day-shift experiment on four worlds: a table, and a picture in demo.png.

Examples:
  auctionlab demo
  auctionlab demo --seeds 2 --out picture.png

"""

from __future__ import annotations

import argparse
from pathlib import Path

from auctionlab.cli.experiment import day_shift_table
from auctionlab.cli.output import print_json, progress
from auctionlab.evaluation.figures import bars
from auctionlab.experiments.day_shift import POLICIES, DayShift
from auctionlab.experiments.day_shift import run as run_day_shift


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--seeds", type=int, default=4, help="worlds (default %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("demo.png"), help="the picture (default %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    """Run the experiment."""
    result = run_day_shift(DayShift(seeds=options.seeds), progress("worlds"))
    rows = {POLICIES[row.policy]: (row.train, row.test) for row in result.rows}
    title = "Planned on one day, tried on the next: gain over keyword bids at equal cost"
    bars(options.out, title, rows, "% more purchases' worth")
    if options.json:
        print_json([*result.rows, result.hindsight])
        return
    print(
        f"Each policy is planned on one day and tried on the next; {options.seeds} worlds, 95 % intervals.\n"
    )
    print(day_shift_table(result))
    print(f"\nWhat is learned per auction fails on the next day; per hour it holds. Picture: {options.out}")
