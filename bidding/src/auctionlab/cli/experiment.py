"""Run an experiment: a table with intervals over seeds, and a picture.

Examples:
  auctionlab experiment day-shift --seeds 10 --out runs/day-shift
  auctionlab experiment day-shift --sweep eta
  auctionlab experiment learning-curve --seeds 10 --out runs/curve --resume
  auctionlab experiment massive

"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from auctionlab.cli.errors import require_learning
from auctionlab.cli.output import print_json, progress
from auctionlab.evaluation.comparison import Estimate, estimate, paired
from auctionlab.evaluation.figures import bars, lines
from auctionlab.evaluation.tables import percent, table
from auctionlab.experiments import day_shift
from auctionlab.experiments.store import Store

_ETAS = (0.0, 0.03, 0.1, 0.2, 0.3, 0.5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("name", choices=["day-shift", "learning-curve", "massive"], help="which experiment")
    parser.add_argument("--seeds", type=int, help="worlds (default by experiment)")
    parser.add_argument("--sweep", choices=["eta"], help="day-shift: how far hours are off between days")
    parser.add_argument("--scenario", choices=list(day_shift.SCENARIOS), help="day-shift: only this one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep finished seeds and the picture here")
    parser.add_argument("--resume", action="store_true", help="go on with what DIR has")
    parser.add_argument("--threads", type=int, default=2, help="day-shift: threads (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="massive: where to learn (default %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Run it."""
    if options.resume and options.out is None:
        raise ValueError("--resume needs --out: the folder to go on with")
    {"day-shift": _day_shift, "learning-curve": _learning_curve, "massive": _massive}[options.name](options)


def _part(options: argparse.Namespace, name: str) -> Path | None:
    return None if options.out is None else options.out / name


def _day_shift(options: argparse.Namespace) -> None:
    base = day_shift.DayShift(seeds=options.seeds if options.seeds is not None else 6)
    if options.sweep == "eta":
        _sweep(options, base)
        return
    chosen = [options.scenario] if options.scenario else list(day_shift.SCENARIOS)
    results = {}
    for name in chosen:
        config = day_shift.SCENARIOS[name][1](base)
        store = Store(_part(options, name), config, resume=options.resume)
        results[name] = day_shift.run(config, progress(name), threads=options.threads, store=store)
    if options.json:
        print_json({name: [*result.rows, result.hindsight] for name, result in results.items()})
    else:
        for name, result in results.items():
            print(f"{day_shift.SCENARIOS[name][0]}, {base.seeds} worlds")
            print(day_shift_table(result) + "\n")
    if options.out is not None:
        for name, result in results.items():
            rows = {day_shift.POLICIES[row.policy]: (row.train, row.test) for row in result.rows}
            title = f"Gain over keyword bids at equal cost: {day_shift.SCENARIOS[name][0]}"
            bars(options.out / f"{name}.png", title, rows, "% more purchases' worth")


def day_shift_table(result: day_shift.Result) -> str:
    """The table of one scenario."""
    rows = [[day_shift.POLICIES[row.policy], percent(row.train), percent(row.test)] for row in result.rows]
    rows.append(["hindsight, at most", percent(result.hindsight.train), percent(result.hindsight.test)])
    return table(["gain over keyword bids at equal cost, %", "train day", "next day"], rows)


def _sweep(options: argparse.Namespace, base: day_shift.DayShift) -> None:
    results = []
    for eta in _ETAS:
        config = replace(base, world=replace(base.world, level_noise=eta))
        store = Store(_part(options, f"eta-{eta:g}"), config, resume=options.resume)
        results.append(day_shift.run(config, progress(f"eta {eta:g}"), threads=options.threads, store=store))
    names = list(day_shift.POLICIES)
    if options.json:
        print_json([{"eta": eta, "rows": result.rows} for eta, result in zip(_ETAS, results, strict=True)])
    else:
        tested = {name: [_row(result, name).test for result in results] for name in names}
        rows = [[day_shift.POLICIES[name], *[f"{e.mean:+.1f}" for e in tested[name]]] for name in names]
        print(f"gain on the next day, %, {base.seeds} worlds")
        print(table(["eta", *[f"{eta:g}" for eta in _ETAS]], rows))
    if options.out is not None:
        series = {day_shift.POLICIES[name]: [_row(result, name).test for result in results] for name in names}
        labels = ("eta: how far an hour's level is off from day to day", "% more purchases' worth, next day")
        lines(options.out / "eta.png", "Where aggregation stops helping", _ETAS, series, labels)


def _row(result: day_shift.Result, name: str) -> day_shift.Row:
    return next(row for row in result.rows if row.policy == name)


def _learning_curve(options: argparse.Namespace) -> None:
    require_learning()
    import torch

    from auctionlab.experiments import learning_curve

    torch.set_num_threads(1)
    config = learning_curve.LearningCurve(seeds=options.seeds if options.seeds is not None else 10)
    store = Store(options.out, config, resume=options.resume)
    result = learning_curve.run(config, progress("worlds"), store=store)
    ways = {
        "DQN with the price of money": [seed.dqn for seed in result.seeds],
        "DQN without it": [seed.unshaped for seed in result.seeds if seed.unshaped is not None],
        "exact plan": [seed.plan for seed in result.seeds],
        "constant multiplier": [seed.constant for seed in result.seeds],
    }
    estimates = {
        name: (estimate([g[0] for g in gains]), estimate([g[1] for g in gains]))
        for name, gains in ways.items()
        if gains
    }
    over = paired([seed.dqn[1] for seed in result.seeds], [seed.constant[1] for seed in result.seeds])
    if options.json:
        print_json({"ways": estimates, "share": result.share, "over_constant": over, "seeds": result.seeds})
    else:
        rows = [[name, percent(pair[0]), percent(pair[1])] for name, pair in estimates.items()]
        print(table(["gain over keyword bids at equal cost, %", "train day", "next day"], rows))
        share = result.share
        print(
            f"\nDQN's share of the exact plan's gain on the next day: {share.mean:.3f} [{share.low:.3f}, "
            f"{share.high:.3f}]; above the constant multiplier in {result.beats_constant} of {config.seeds} "
            f"worlds, by {percent(over)} points"
        )
    if options.out is not None:
        episodes = [episode for episode, _ in result.seeds[0].curve]
        curve: list[Estimate] = [
            estimate([100 * seed.curve[place][1] for seed in result.seeds]) for place in range(len(episodes))
        ]
        labels = ("episodes", "% of the exact plan's purchases' worth, train day")
        title = "What DQN has learned, without exploration"
        lines(options.out / "curve.png", title, episodes, {"DQN": curve}, labels)


def _massive(options: argparse.Namespace) -> None:
    require_learning()
    import torch

    from auctionlab.experiments import massive

    torch.set_num_threads(2)
    config = massive.Massive()
    if options.seeds is not None:
        config = replace(config, world=replace(config.world, seed=options.seeds))
    store = Store(options.out, config, resume=options.resume)
    result = massive.run(config, progress("episodes"), device=options.device, store=store)
    if options.json:
        print_json(result.rows)
        return
    rows = [
        [row.name, f"{row.gain:.3f}", f"{row.cost:.3f}", f"{row.gain_per_cost:.3f}"] for row in result.rows
    ]
    print(f"{config.world.ads} ads, the day after training, relative to their standing bids")
    print(table(["", "purchases' worth", "revenue", "PUR / C"], rows))
