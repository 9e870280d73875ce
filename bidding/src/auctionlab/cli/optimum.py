"""The most that one ad could gain in hindsight, and what simple bidding gains.

Examples:
  auctionlab optimum --ad 0 --budget 500
  auctionlab optimum --ad 3 --budget 500 --ppc-limit 2.5

"""

from __future__ import annotations

import argparse

from auctionlab.cli.days import add_day_arguments, add_rule_arguments, day, rules
from auctionlab.cli.output import print_json
from auctionlab.optimum.dual import dual
from auctionlab.optimum.landscape import landscape, spending_multiplier
from auctionlab.optimum.program import program


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_day_arguments(parser)
    add_rule_arguments(parser)
    parser.add_argument("--ad", type=int, default=0, help="whose optimum (default %(default)s)")
    parser.add_argument("--budget", type=float, required=True, help="its money for the day")
    parser.add_argument(
        "--ppc-limit",
        type=float,
        metavar="MONEY",
        help="the most a click may cost on average (linear program)",
    )


def run(options: argparse.Namespace) -> None:
    """Print the bound, or the linear program's solution."""
    market, given = day(options), rules(options)
    if options.ppc_limit is not None:
        solution = program(market, options.ad, options.budget, given, ppc_limit=options.ppc_limit)
        if options.json:
            print_json(solution)
            return
        print(f"gain {solution.gain:,.2f} for {solution.cost:,.2f}, {solution.clicks:,.1f} clicks")
        print(f"another unit of money would gain {solution.price_of_money:.3f}")
        return
    bound = dual(market, options.ad, options.budget, given)
    constant = None
    try:
        multiplier = spending_multiplier(market, options.ad, options.budget, given)
        constant = float(landscape(market, options.ad, multiplier, given).gain.sum())
    except ValueError:
        multiplier = float("nan")
    if options.json:
        print_json({"bound": bound, "constant": {"multiplier": multiplier, "gain": constant}})
        return
    print(
        f"hindsight gains at most {bound.bound:,.2f}; "
        f"another unit of money would gain {bound.price_of_money:.3f}"
    )
    if constant is None:
        print("the budget is more than the day can take")
    else:
        print(f"a constant multiplier of {multiplier:.4f} spends it and gains {constant:,.2f}")
