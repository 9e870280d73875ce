"""Clear a day and print what every ad got.

Examples:
  auctionlab simulate --ads 9 --mechanism vcg
  auctionlab simulate --log day.parquet --budget 500 --chance 7

"""

from __future__ import annotations

import argparse

import numpy as np

from auctionlab.auction.clearing import clear
from auctionlab.cli.days import add_day_arguments, add_rule_arguments, day, rules
from auctionlab.cli.output import print_json
from auctionlab.evaluation.tables import table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_day_arguments(parser)
    add_rule_arguments(parser)
    parser.add_argument("--budget", type=float, help="each ad's money for the day (default unlimited)")
    parser.add_argument(
        "--chance", type=int, metavar="SEED", help="draw clicks and purchases (default expected values)"
    )
    parser.add_argument("--rows", type=int, default=20, help="ads to print, by cost (default %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Clear the day."""
    market = day(options)
    budgets = None if options.budget is None else np.full(market.ads, options.budget)
    outcome = clear(market, None, budgets, rules(options), seed=options.chance)
    order = np.argsort(-outcome.cost.sum(axis=0), kind="stable")
    if options.json:
        ads = [{"ad": int(ad), **outcome.of(int(ad))} for ad in order]
        print_json({"revenue": outcome.revenue, "welfare": outcome.welfare, "ads": ads})
        return
    rows = []
    for ad in order[: max(options.rows, 0)]:
        got = outcome.of(int(ad))
        names = ("impressions", "top", "clicks", "cost", "conversions", "gmv")
        rows.append([f"ad {ad}", *[f"{got[name]:,.1f}" for name in names]])
    print(table(["", "impressions", "top", "clicks", "cost", "purchases", "worth"], rows))
    print(
        f"\n{market.auctions:,} auctions: revenue {outcome.revenue:,.1f}, "
        f"purchases' worth {outcome.welfare:,.1f}"
    )
