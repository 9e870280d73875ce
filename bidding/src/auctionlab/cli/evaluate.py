"""Try a learned agent on another day, beside simple bidding and the bound of hindsight; or a learned game.

Examples:
  auctionlab evaluate agent.safetensors --day 2
  auctionlab evaluate game.json --auctions 2000 --day 9
  auctionlab evaluate agent.safetensors --log tuesday.parquet --train-log monday.parquet

"""

from __future__ import annotations

import argparse
from pathlib import Path

from auctionlab.bids.signals import keyword_bids
from auctionlab.cli.days import add_day_arguments, add_rule_arguments, day, rules, world
from auctionlab.cli.errors import require_learning
from auctionlab.cli.output import print_json
from auctionlab.evaluation.comparison import KeywordBidding
from auctionlab.evaluation.tables import table
from auctionlab.evolution.equilibrium import deviations
from auctionlab.evolution.trained import Trained, shares, truthful
from auctionlab.logs.table import read
from auctionlab.optimum.dual import dual
from auctionlab.optimum.landscape import landscape, spending_multiplier
from auctionlab.pacing.constant import Constant
from auctionlab.pacing.day import BiddingDay
from auctionlab.pacing.dual_descent import DualDescent
from auctionlab.pacing.pid import PID
from auctionlab.pacing.policy import Policy
from auctionlab.pacing.schedule import Paced, spending_path
from auctionlab.pacing.water_level import WaterLevel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("agent", type=Path, help="what `train rmdp` or `train macg` wrote")
    add_day_arguments(parser)
    add_rule_arguments(parser)
    parser.add_argument("--ad", type=int, default=0, help="which ad it is (default %(default)s)")
    parser.add_argument(
        "--train-log", type=Path, metavar="FILE", help="a canonical log as the day that the others know"
    )
    parser.add_argument(
        "--train-day", type=int, default=1, metavar="SEED", help="the day that the others know (default 1)"
    )


def run(options: argparse.Namespace) -> None:
    """Print gains over keyword bids at equal cost, or what a game comes to beside truthful bidding."""
    if options.agent.suffix == ".json":
        _game(options)
        return
    require_learning()
    from auctionlab.agents.robust import Agent

    agent = Agent.load(options.agent)
    market, given, ad = day(options), rules(options), options.ad
    known = read(options.train_log).market if options.train_log else world(options).day(options.train_day)
    keyword = keyword_bids(known, ad)
    usual = KeywordBidding(known, ad, keyword, given)
    yardstick = KeywordBidding(market, ad, keyword, given)
    center = spending_multiplier(known, ad, usual.cost, given)
    responses = landscape(known, ad, agent.grid, given)
    path = spending_path(responses, center)
    policies: dict[str, Policy] = {
        "agent": agent,
        "constant": Constant(center),
        "paced": Paced(center, path),
        "PID": PID(center, path),
        "dual descent": DualDescent(center),
        "water level": WaterLevel(responses),
    }
    gains = {"keyword bids": (0.0, yardstick.cost, yardstick.gain)}
    for name, policy in policies.items():
        got = BiddingDay(market, ad, rules=given).follow(policy, yardstick.cost).of(ad)
        gains[name] = (yardstick.relative_gain(got["gmv"], got["cost"]), got["cost"], got["gmv"])
    bound = dual(market, ad, yardstick.cost, given)
    gains["hindsight, at most"] = (
        yardstick.relative_gain(bound.bound, yardstick.cost),
        yardstick.cost,
        bound.bound,
    )
    if options.json:
        keys = ("gain_percent", "cost", "worth")
        print_json({name: dict(zip(keys, values, strict=True)) for name, values in gains.items()})
        return
    rows = [
        [name, f"{gain:+.1f} %", f"{cost:,.1f}", f"{worth:,.1f}"]
        for name, (gain, cost, worth) in gains.items()
    ]
    print(table(["", "gain at equal cost", "cost", "purchases' worth"], rows))
    if options.log is None and options.day == options.train_day:
        print("\nThe agent was tried on the day that the others know; --day 2 is another.")


def _game(options: argparse.Namespace) -> None:
    trained, advertisers = Trained.read(options.agent)
    market = day(options)
    known = read(options.train_log).market if options.train_log else world(options).day(options.train_day)
    if not market.ads == known.ads == len(advertisers):
        raise ValueError(f"the game is of {len(advertisers)} ads, but the day has {market.ads}")
    usual = truthful(market, advertisers, trained.game.rules)
    told = shares(trained.play(market, advertisers), usual, advertisers)
    leave = deviations(trained, known, market, advertisers)
    facts = {
        "revenue": told.revenue,
        "value": told.value,
        "surplus": told.surplus,
        "manual": told.manual,
        "gain by factor": float(leave.scaling.mean()),
        "gain by plan": float(leave.plan.mean()),
    }
    if options.json:
        print_json(facts)
        return
    rows = [[name, f"{value:.3f}"] for name, value in facts.items() if value == value]
    print(table(["truthful bidding is 1", ""], rows))
