"""Replay a display log (click, market price, predicted click rate) with the RLB paper's four policies.

Examples:
  auctionlab replay test.txt.gz info.json
  auctionlab replay test.txt.gz info.json --budget-share 0.0625 --published

"""

from __future__ import annotations

import argparse
from pathlib import Path

from auctionlab.cli.output import print_json
from auctionlab.evaluation.tables import table
from auctionlab.experiments.real_log import PUBLISHED
from auctionlab.experiments.real_log import run as run_log
from auctionlab.optimum.display import DisplayPolicy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("log", type=Path, help='rows of "click price predicted", separated by spaces')
    parser.add_argument("training", type=Path, help="counts of the training days, as JSON")
    parser.add_argument(
        "--policy",
        action="append",
        choices=[policy.value for policy in DisplayPolicy],
        help="how to bid; may be given again (default all four)",
    )
    parser.add_argument(
        "--budget-share",
        type=float,
        action="append",
        metavar="C0",
        help="budget as a share of what all would cost; may be given again (default 1/32)",
    )
    parser.add_argument(
        "--auctions", type=int, default=1000, help="impressions in an episode (default %(default)s)"
    )
    parser.add_argument(
        "--published", action="store_true", help="print the published rows of campaign 2997 too"
    )


def run(options: argparse.Namespace) -> None:
    """Replay, and print a row for each policy."""
    policies = [DisplayPolicy(name) for name in options.policy] if options.policy else list(DisplayPolicy)
    rows = run_log(
        options.log,
        options.training,
        policies=policies,
        budget_shares=options.budget_share or [1 / 32],
        auctions=options.auctions,
    )
    if options.json:
        print_json(rows)
        return
    lines = []
    for row in rows:
        numbers = [f"{value:,}" for value in (row.got.impressions, row.got.clicks, row.got.cost)]
        line = [row.policy.value, f"{row.budget_share:g}", *numbers]
        if options.published:
            theirs = PUBLISHED[row.policy]
            line += [f"{value:,}" for value in (theirs.impressions, theirs.clicks, theirs.cost)]
        lines.append(line)
    headers = ["", "c0", "impressions", "clicks", "cost"]
    print(table(headers + (["published", "clicks", "cost"] if options.published else []), lines))
