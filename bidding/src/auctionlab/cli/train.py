"""Learn to bid: rmdp (a multiplier each hour), amdp (a bid every 100 auctions), mrmdp (all ads at once).

Examples:
  auctionlab train rmdp --out agent.safetensors
  auctionlab train mrmdp --ads 100 --candidates 15 --cooperation 0.5 --out agents.safetensors

"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from auctionlab.auction.clearing import clear
from auctionlab.bids.signals import bids_by_keyword, keyword_bids
from auctionlab.cli.days import add_day_arguments, add_rule_arguments, day, rules
from auctionlab.cli.errors import require_learning
from auctionlab.cli.output import print_json, progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("method", choices=["rmdp", "amdp", "mrmdp"], help="what to learn")
    add_day_arguments(parser)
    add_rule_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where to write what was learned"
    )
    parser.add_argument("--ad", type=int, default=0, help="which ad learns (default %(default)s)")
    parser.add_argument("--budget", type=float, help="its money for a day (default what keyword bids cost)")
    learning = parser.add_argument_group("learning")
    learning.add_argument("--episodes", type=int, help="days to learn from (default by method)")
    learning.add_argument("--paper", action="store_true", help="the settings that SS-RTB's paper states")
    learning.add_argument(
        "--seed", type=int, default=0, help="of weights and exploration (default %(default)s)"
    )
    learning.add_argument(
        "--cooperation",
        type=float,
        default=0.0,
        metavar="W",
        help="mrmdp: weight of everyone's reward (default 0)",
    )
    learning.add_argument("--device", default="cpu", help="mrmdp: where to learn (default %(default)s)")
    learning.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="keep the state here, to go on from"
    )
    learning.add_argument("--resume", action="store_true", help="go on from the checkpoint")


def run(options: argparse.Namespace) -> None:
    """Learn, and write the agent."""
    require_learning()
    import torch

    from auctionlab.agents import auction_level, massive, robust
    from auctionlab.agents.dqn import Options
    from auctionlab.environments.contest import Contest, Contestants
    from auctionlab.environments.hourly import HourlyBidding

    # These networks are small: one thread is faster than two that wait for each other.
    torch.set_num_threads(1)
    if options.resume and options.checkpoint is None:
        raise ValueError("--resume needs --checkpoint: the file to go on from")
    if options.checkpoint is not None and options.checkpoint.exists() and not options.resume:
        raise ValueError(f"{options.checkpoint} is there already; go on with --resume, or name another")
    market, given = day(options), rules(options)
    changes: dict[str, object] = {"seed": options.seed}
    if options.episodes is not None:
        changes["episodes"] = options.episodes
    if options.method == "mrmdp":
        unlimited = clear(market, rules=given)
        budgets = np.maximum(0.6 * unlimited.cost.sum(axis=0), 1e-6)
        if options.budget is not None:
            budgets = np.full(market.ads, options.budget)
        contestants = Contestants(tuple(range(market.ads)), tuple(budgets.tolist()), options.cooperation)
        many: dict[str, object] = {
            "batch": 64,
            "memory": 2_000,
            "warmup": 200,
            "layers": (32, 32),
            "episodes": 120,
        }
        learning = Options.paper(**changes) if options.paper else Options(**{**many, **changes})  # type: ignore[arg-type]
        contest = Contest([market], contestants, rules=given)
        bar = progress("episodes")
        agents = massive.train(
            contest,
            learning,
            progress=lambda state: bar(state.episode, state.episodes),
            device=options.device,
            checkpoint=options.checkpoint,
            resume=options.resume,
        )
        agents.save(options.out)
        outcome = agents.play(contest)
        _tell(options, {"ads": market.ads, "gain": outcome.welfare, "cost": outcome.revenue})
        return
    budget = options.budget
    if budget is None:
        bids = bids_by_keyword(market, options.ad, keyword_bids(market, options.ad))
        budget = clear(market, bids, rules=given).of(options.ad)["cost"]
    if options.method == "amdp":
        environment = auction_level.environment([market], ad=options.ad, budget=budget, rules=given)
        changes.setdefault("episodes", 150)
    else:
        environment = HourlyBidding([market], ad=options.ad, budget=budget, rules=given)
    learning = Options.paper(**changes) if options.paper else Options(**changes)  # type: ignore[arg-type]
    bar = progress("episodes")
    trained = robust.train(
        environment,
        learning,
        progress=lambda state: bar(state.episode, state.episodes),
        checkpoint=options.checkpoint,
        resume=options.resume,
    )
    trained.agent.save(options.out)
    _tell(options, {"ad": options.ad, "budget": budget, "gain": max(gain for _, gain in trained.curve)})


def _tell(options: argparse.Namespace, facts: dict[str, float]) -> None:
    if options.json:
        print_json({"out": str(options.out), **facts})
        return
    print(f"{options.out}: " + ", ".join(f"{name} {value:,.2f}" for name, value in facts.items()))
