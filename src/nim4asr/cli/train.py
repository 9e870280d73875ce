"""``nim4 train RECIPE``"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nim4asr.cli.progress import progress


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("train", help="train a recipe's model, all stages or one")
    parser.add_argument("recipe", choices=("nano",))
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="corpora (see docs/training.md)"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/nano"), metavar="DIR")
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="begin from this model's encoder and phoneme head (a folder or org/name), "
        "without the stages that only give a fresh encoder its first words",
    )
    parser.add_argument("--stage", help="this stage alone; the ones before it must be done")
    parser.add_argument("--threads", type=int, help="processor threads (default: all cores)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, going on from whatever the output folder holds."""
    import torch

    from nim4asr.recipes.nano import programme
    from nim4asr.training.programme import run_programme

    if options.threads is not None:
        torch.set_num_threads(max(1, options.threads))

    def shown(items: Iterable[Any], what: str, total: int, done: int = 0) -> Iterator[Any]:
        return progress(items, what, total, done)

    run_programme(programme(options.data), options.output, options.stage, shown, options.start)
    return 0
