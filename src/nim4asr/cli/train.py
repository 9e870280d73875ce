"""``nim4 train RECIPE``"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nim4asr.cli.progress import progress, progress_in_lines
from nim4asr.errors import InputError
from nim4asr.recipes import RECIPES


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("train", help="train a recipe's model, all stages or one")
    parser.add_argument("recipe", nargs="?", choices=RECIPES)
    parser.add_argument("--data", type=Path, metavar="DIR", help="corpora (see docs/training.md)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the run's folder (default: runs/RECIPE)")
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="begin from this model's encoder and phoneme head (a folder or org/name), "
        "without the stages that only give a fresh encoder its first words",
    )
    parser.add_argument(
        "--from", dest="first", metavar="STAGE", help="with --start: all of that model, and this stage first"
    )
    parser.add_argument("--stage", help="this stage alone; the ones before it must be done")
    parser.add_argument(
        "--side",
        choices=("pretraining", "ia-sft"),
        help="one side of asynchronous IA-SFT, as a job of its own (default: both in turns)",
    )
    parser.add_argument("--threads", type=int, help="processor threads (default: all cores)")
    parser.add_argument("--status", type=Path, metavar="DIR", help="show where the run in DIR stands")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the run in DIR into DIR/plots")
    parser.add_argument("--json", action="store_true", help="with --status: as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, going on from whatever the output folder holds; or tell of a run."""
    if options.status is not None:
        return _status(options.status, options.json)
    if options.plots is not None:
        return _plots(options.plots)
    if options.recipe is None or options.data is None:
        raise InputError("say what to train: nim4 train RECIPE --data DIR, or --status DIR")
    import torch

    from nim4asr.recipes import training_programme
    from nim4asr.training.run import run_programme
    from nim4asr.training.status import write_recipe

    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))

    def shown(items: Iterable[Any], what: str, total: int, done: int = 0) -> Iterator[Any]:
        counted = progress if sys.stderr.isatty() else progress_in_lines
        return counted(items, what, total, done)

    folder = options.output or Path("runs") / options.recipe
    programme = training_programme(options.recipe, options.data)
    stages = programme.stages_from(options.start is not None, options.first)
    write_recipe(folder, options.recipe, programme, stages)
    run_programme(programme, folder, options.stage, shown, options.start, options.first, options.side)
    return 0


def _status(folder: Path, as_json: bool) -> int:
    from nim4asr.training.status import as_text, read_status

    status = read_status(folder)
    print(json.dumps(asdict(status), ensure_ascii=False) if as_json else as_text(status))
    return 0


def _plots(folder: Path) -> int:
    from nim4asr.training.plots import plot_run

    for path in plot_run(folder):
        print(path)
    if not any(folder.glob("plots/*.png")):
        print("nim4: nothing has been logged yet", file=sys.stderr)
    return 0
