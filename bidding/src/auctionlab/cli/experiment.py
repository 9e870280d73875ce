"""Run an experiment: a table with intervals over seeds, and pictures. `auctionlab report` makes a page of it.

Examples:
  auctionlab experiment day-shift --seeds 10 --out runs/day-shift
  auctionlab experiment day-shift --sweep eta
  auctionlab experiment collusion --floors 0.7,0.8,0.9,1.1 --manual 3 --out runs/collusion
  auctionlab experiment promise --seeds 5
  auctionlab experiment objectives --out runs/objectives
  auctionlab experiment learning-curve --seeds 10 --out runs/curve --resume
  auctionlab experiment massive

"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from auctionlab.cli import showing
from auctionlab.cli.errors import require_learning
from auctionlab.cli.output import print_json, progress
from auctionlab.experiments import collusion, day_shift, objectives, promise
from auctionlab.experiments.arena import Arena
from auctionlab.experiments.store import Store

_ETAS = (0.0, 0.03, 0.1, 0.2, 0.3, 0.5)
_FLOORS = collusion.Collusion().floors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("name", choices=list(_EXPERIMENTS), help="which experiment")
    parser.add_argument("--seeds", type=int, help="worlds (default by experiment)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep finished parts and pictures here")
    parser.add_argument("--resume", action="store_true", help="go on with what DIR has")
    parser.add_argument("--threads", type=int, default=2, help="threads (default %(default)s)")
    shift = parser.add_argument_group("day-shift")
    shift.add_argument("--sweep", choices=["eta"], help="how far hours are off between days")
    shift.add_argument("--scenario", choices=list(day_shift.SCENARIOS), help="only this one")
    games = parser.add_argument_group("collusion, promise, objectives")
    games.add_argument(
        "--floors",
        metavar="0.7,0.8,...",
        help=f"collusion: revenue floors (default {','.join(f'{floor:g}' for floor in _FLOORS)})",
    )
    games.add_argument("--manual", type=int, default=0, help="ads that bid the truth (default %(default)s)")
    games.add_argument("--ads", type=int, help="ads (default 8; objectives 9)")
    games.add_argument("--positions", metavar="1,0.7,...", help="click factor of each position (default 1)")
    games.add_argument("--iterations", type=int, help="steps of every search")
    parser.add_argument("--device", default="cpu", help="massive: where to learn (default %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Run it."""
    if options.resume and options.out is None:
        raise ValueError("--resume needs --out: the folder to go on with")
    shown = _EXPERIMENTS[options.name](options)
    if options.out is not None:
        shown.save(options.out)
    if options.json:
        print_json(shown.value)
    else:
        print(shown.text())


def _part(options: argparse.Namespace, name: str) -> Path | None:
    return None if options.out is None else options.out / name


def _day_shift(options: argparse.Namespace) -> showing.Shown:
    base = day_shift.DayShift(seeds=options.seeds if options.seeds is not None else 6)
    if options.sweep == "eta":
        swept = []
        for eta in _ETAS:
            config = replace(base, world=replace(base.world, level_noise=eta))
            store = Store(_part(options, f"eta-{eta:g}"), config, resume=options.resume)
            bar = progress(f"eta {eta:g}")
            swept.append(day_shift.run(config, bar, threads=options.threads, store=store))
        return showing.show_sweep(_ETAS, swept)
    results = {}
    for name in [options.scenario] if options.scenario else list(day_shift.SCENARIOS):
        config = day_shift.SCENARIOS[name][1](base)
        store = Store(_part(options, name), config, resume=options.resume)
        results[name] = day_shift.run(config, progress(name), threads=options.threads, store=store)
    return showing.show_day_shift(results)


def _learning_curve(options: argparse.Namespace) -> showing.Shown:
    require_learning()
    import torch

    from auctionlab.experiments import learning_curve

    torch.set_num_threads(1)
    config = learning_curve.LearningCurve(seeds=options.seeds if options.seeds is not None else 10)
    store = Store(options.out, config, resume=options.resume)
    return showing.show_learning_curve(learning_curve.run(config, progress("worlds"), store=store))


def _massive(options: argparse.Namespace) -> showing.Shown:
    require_learning()
    import torch

    from auctionlab.experiments import massive

    torch.set_num_threads(2)
    config = massive.Massive()
    if options.seeds is not None:
        config = replace(config, world=replace(config.world, seed=options.seeds))
    store = Store(options.out, config, resume=options.resume)
    result = massive.run(config, progress("episodes"), device=options.device, store=store)
    return showing.show_massive(config, result)


def _arena(options: argparse.Namespace, arena: Arena) -> Arena:
    """The arena with what options change."""
    if options.seeds is not None:
        arena = replace(arena, seeds=options.seeds)
    if options.ads is not None:
        arena = replace(arena, world=replace(arena.world, ads=options.ads))
    if options.positions is not None:
        arena = replace(arena, rules=replace(arena.rules, positions=_numbers("positions", options.positions)))
    if options.iterations is not None:
        arena = replace(arena, search=replace(arena.search, iterations=options.iterations))
    return replace(arena, manual=options.manual)


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} must be numbers with commas, as 1,0.7,0.5, not {text!r}") from None


def _collusion(options: argparse.Namespace) -> showing.Shown:
    config = collusion.Collusion(_arena(options, Arena()))
    if options.floors is not None:
        config = replace(config, floors=_numbers("floors", options.floors))
    store = Store(options.out, config, resume=options.resume)
    result = collusion.run(config, progress("games"), threads=options.threads, store=store)
    return showing.show_collusion(result)


def _promise(options: argparse.Namespace) -> showing.Shown:
    config = promise.Promise(_arena(options, Arena()))
    store = Store(options.out, config, resume=options.resume)
    result = promise.run(config, progress("worlds"), threads=options.threads, store=store)
    return showing.show_promise(result)


def _objectives(options: argparse.Namespace) -> showing.Shown:
    config = objectives.Objectives()
    config = replace(config, arena=_arena(options, config.arena))
    store = Store(options.out, config, resume=options.resume)
    result = objectives.run(config, progress("games"), threads=options.threads, store=store)
    return showing.show_objectives(result)


_EXPERIMENTS = {
    "day-shift": _day_shift,
    "collusion": _collusion,
    "promise": _promise,
    "objectives": _objectives,
    "learning-curve": _learning_curve,
    "massive": _massive,
}
