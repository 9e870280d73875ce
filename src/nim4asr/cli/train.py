"""``nim4 train RECIPE``"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command
from nim4asr.cli.progress import progress, progress_in_lines
from nim4asr.recipes import RECIPES


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        "train a recipe's model, all stages or one",
        "nim4 train nano --data corpora",
        "nim4 train nano-longer --data corpora --start model --from pretraining --output runs/more",
    )
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="corpora (see docs/training.md)"
    )
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
        "--worker",
        choices=("pretraining", "ia-sft"),
        help="one worker of asynchronous IA-SFT, as a job of its own (default: both in turns)",
    )
    parser.add_argument("--threads", type=int, help="processor threads (default: all cores)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, going on from whatever the output folder holds."""
    import torch

    from nim4asr.recipes import training_recipe
    from nim4asr.training.run import run_recipe
    from nim4asr.training.status import write_recipe

    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))

    def report(items: Iterable[Any], what: str, total: int, done: int = 0) -> Iterator[Any]:
        counted = progress if sys.stderr.isatty() else progress_in_lines
        return counted(items, what, total, done)

    folder = options.output or Path("runs") / options.recipe
    recipe = training_recipe(options.recipe, options.data)
    stages = recipe.stages_from(options.start is not None, options.first)
    write_recipe(folder, options.recipe, recipe, stages)
    run_recipe(recipe, folder, options.stage, report, options.start, options.first, options.worker)
    return 0
