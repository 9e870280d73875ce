"""``nim4 train RECIPE``"""

import argparse
import sys
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
        "nim4 train nano-longer --data corpora --init-model model --start-stage pretraining",
    )
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="corpora (see docs/training.md)"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="the run's folder (default: runs/RECIPE)")
    parser.add_argument(
        "--init-model",
        metavar="MODEL",
        help="start with this model's encoder and phoneme head (a folder or org/name), "
        "without the stages that bootstrap a fresh encoder",
    )
    parser.add_argument(
        "--start-stage",
        metavar="STAGE",
        help="with --init-model: start with all of that model, at this stage",
    )
    parser.add_argument(
        "--only-stage", metavar="STAGE", help="train this stage alone; the ones before it must be done"
    )
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
    from nim4asr.training.run import RunOptions, run_recipe
    from nim4asr.training.status import write_recipe

    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))

    folder = options.output or Path("runs") / options.recipe
    recipe = training_recipe(options.recipe, options.data)
    stages = recipe.stages_from(options.init_model is not None, options.start_stage)
    write_recipe(folder, options.recipe, recipe, stages)
    asked = RunOptions(options.init_model, options.start_stage, options.only_stage, options.worker)
    run_recipe(recipe, folder, asked, progress if sys.stderr.isatty() else progress_in_lines)
    return 0
