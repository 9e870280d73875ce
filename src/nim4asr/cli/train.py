"""``nim4 train RECIPE``"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import add_command
from nim4asr.cli.progress import progress, progress_in_lines
from nim4asr.errors import InputError
from nim4asr.recipes import FROM_PUBLIC_PARTS, RECIPES
from nim4asr.recipes.corpora import every_manifest
from nim4asr.runtime.loading import MOST_THREADS

if TYPE_CHECKING:
    from nim4asr.model.configuration import Nim4Config


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        "train a recipe's model, all stages or one",
        "nim4 train nano --data corpora",
        "nim4 train nano-longer --data corpora --init-model model --start-stage pretraining",
        "nim4 train from-public-parts --data corpora --init-model model --plan",
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
        f"without the stages that bootstrap a fresh encoder; {FROM_PUBLIC_PARTS}: with all of it",
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
    group = parser.add_argument_group(FROM_PUBLIC_PARTS)
    group.add_argument(
        "--plan", action="store_true", help="predict memory, time and disk on this machine, and train nothing"
    )
    group.add_argument(
        "--whole-llm",
        action="store_true",
        help="train all of the language model, in the place of low-rank corrections (LoRA)",
    )
    group.add_argument(
        "--memory",
        type=float,
        metavar="GB",
        help="of the GPU's memory or, without one, the computer's, take so much "
        "(default: most of what is free when the run begins)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, going on from whatever the output folder holds; or tell what it will take."""
    from nim4asr.model.folder import ModelFolder

    if options.recipe != FROM_PUBLIC_PARTS and (
        options.plan or options.whole_llm or options.memory is not None
    ):
        raise InputError(
            f"--plan, --memory and --whole-llm are for {FROM_PUBLIC_PARTS}, whose batches follow from the "
            f"memory; those of {options.recipe} are fixed"
        )
    if options.threads is not None and not 1 <= options.threads <= MOST_THREADS:
        raise InputError(f"--threads must be from 1 to {MOST_THREADS}, not {options.threads}")
    if options.recipe == FROM_PUBLIC_PARTS:
        every_manifest(options.data)
    folder = options.output or Path("runs") / options.recipe
    start = None if options.init_model is None else ModelFolder.open(options.init_model).config
    # What can be told is told before torch is loaded.
    import torch

    from nim4asr.recipes import training_recipe
    from nim4asr.training.machine import machine_of
    from nim4asr.training.run import RunOptions, run_recipe

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.plan:
        return _plan(options, folder, start)
    machine = partial(machine_of, folder, options.memory)
    recipe = training_recipe(options.recipe, options.data, start, machine, options.whole_llm)
    asked = RunOptions(
        options.init_model, options.start_stage, options.only_stage, options.worker, options.recipe
    )
    run_recipe(recipe, folder, asked, progress if sys.stderr.isatty() else progress_in_lines)
    return 0


def _plan(options: argparse.Namespace, folder: Path, start: "Nim4Config | None") -> int:
    from nim4asr.recipes import from_public_parts
    from nim4asr.training.machine import this_machine
    from nim4asr.training.plan import as_text, plan_run

    config = from_public_parts.whole_model(start)
    amount = from_public_parts.speech_in(options.data)
    machine = this_machine(folder, options.memory)
    lora = None if options.whole_llm else from_public_parts.LORA
    recipe = from_public_parts.recipe(options.data, config, machine, amount, lora)
    print(as_text(plan_run(recipe, config, machine, amount, recipe.stages_from(True, options.start_stage))))
    return 0
