"""Learn to bid: rmdp, amdp and mrmdp by DQN, macg by evolution.

rmdp sets a multiplier each hour, amdp a bid every 100 auctions, mrmdp learns for all ads at once; macg
searches for all ads' policies at once, selfish or cooperative, above a revenue floor if there is one.

Examples:
  auctionlab train rmdp --out agent.safetensors
  auctionlab train mrmdp --ads 100 --candidates 15 --cooperation 0.5 --out agents.safetensors
  auctionlab train macg --auctions 2000 --cooperation 1 --floor 0.9 --out game.json

"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from auctionlab.auction.clearing import clear
from auctionlab.bids.signals import bids_by_keyword, keyword_bids
from auctionlab.cli.days import add_day_arguments, add_rule_arguments, day, rules, world
from auctionlab.cli.errors import require_learning
from auctionlab.cli.output import print_json, progress
from auctionlab.evolution.cluster import Cluster
from auctionlab.evolution.games import train as train_game
from auctionlab.evolution.objectives import Advertiser, Objective
from auctionlab.evolution.strategy import Search
from auctionlab.evolution.trained import Game, shares, truthful


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("method", choices=["rmdp", "amdp", "mrmdp", "macg"], help="what to learn")
    add_day_arguments(parser)
    add_rule_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where to write what was learned"
    )
    parser.add_argument("--ad", type=int, default=0, help="which ad learns (default %(default)s)")
    parser.add_argument(
        "--budget",
        type=float,
        help="money for a day (default by method)",
    )
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
        help="mrmdp, macg: weight of the common good (default 0)",
    )
    learning.add_argument("--threads", type=int, help="macg: threads (default one a core)")
    learning.add_argument("--cluster", action="store_true", help="macg: play on a Ray cluster")
    learning.add_argument("--device", default="cpu", help="mrmdp: where to learn (default %(default)s)")
    learning.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="keep the state here, to go on from"
    )
    learning.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    games = parser.add_argument_group("macg")
    games.add_argument("--floor", type=float, help="least revenue, as a share of truthful bidding's")
    games.add_argument(
        "--objective",
        choices=[wanted.value for wanted in Objective],
        default=Objective.PROFIT.value,
        help="what ads want (default %(default)s)",
    )
    games.add_argument("--ppc-limit", type=float, help="the most that clicks may cost on average")
    games.add_argument("--manual", type=int, default=0, help="ads that bid the truth (default %(default)s)")
    games.add_argument("--iterations", type=int, help="steps of the search")
    games.add_argument("--parts", type=int, default=1, help="parts of the day with own weights (default 1)")


def run(options: argparse.Namespace) -> None:
    """Learn, and write the agent."""
    if options.resume and options.checkpoint is None:
        raise ValueError("--resume needs --checkpoint: the file to go on from")
    if options.checkpoint is not None and options.checkpoint.exists() and not options.resume:
        raise ValueError(f"{options.checkpoint} is there already; go on with --resume, or name another")
    if options.method == "macg":
        _macg(options)
        return
    require_learning()
    import torch

    from auctionlab.agents import auction_level, massive, robust
    from auctionlab.agents.dqn import Options
    from auctionlab.environments.contest import Contest, Contestants
    from auctionlab.environments.hourly import HourlyBidding

    # These networks are small: one thread is faster than two that wait for each other.
    torch.set_num_threads(1)
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


def _macg(options: argparse.Namespace) -> None:
    market, given = day(options), rules(options)
    days = [market] if options.log is not None else [world(options).day(options.day + k) for k in range(3)]
    if not 0 <= options.manual <= market.ads:
        raise ValueError(f"--manual must lie between 0 and the {market.ads} ads, not {options.manual}")
    free = truthful(market, [Advertiser()] * market.ads, given)
    limit = np.inf if options.ppc_limit is None else options.ppc_limit
    advertisers = [
        Advertiser(
            Objective(options.objective),
            0.8 * float(free[ad, 3]) if options.budget is None else options.budget,
            limit,
            ad < options.manual,
        )
        for ad in range(market.ads)
    ]
    search = Search(seed=options.seed)
    if options.iterations is not None:
        search = replace(search, iterations=options.iterations)
    game = Game(options.cooperation, options.floor, given, search, options.parts)
    bar = progress("steps")
    trained = train_game(
        days,
        advertisers,
        game,
        threads=options.threads,
        rollouts=Cluster if options.cluster else None,
        progress=lambda step: bar(step.iteration, search.iterations),
        checkpoint=options.checkpoint,
        resume=options.resume,
    )
    trained.save(options.out, advertisers)
    told = shares(trained.play(market, advertisers), truthful(market, advertisers, given), advertisers)
    facts = {"revenue": told.revenue, "value": told.value, "surplus": told.surplus}
    _tell(options, facts, trained.trouble)


def _tell(options: argparse.Namespace, facts: dict[str, float], trouble: str = "") -> None:
    if options.json:
        print_json({"out": str(options.out), **facts, "trouble": trouble})
        return
    print(f"{options.out}: " + ", ".join(f"{name} {value:,.2f}" for name, value in facts.items()))
    if trouble:
        print(trouble)
