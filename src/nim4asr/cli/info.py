"""``nim4 info RECIPE-OR-MODEL``"""

import argparse
import json
from typing import Any

from nim4asr.cli.options import add_command
from nim4asr.recipes import NETWORKS


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "info",
        "count the parameters of a recipe or model folder",
        "nim4 info nano",
        "nim4 info nim4-2.3b --json",
    )
    parser.add_argument("model", help=f"{', '.join(NETWORKS)}, or a model folder")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every block's parameters, counted without memory for them."""
    import torch

    from nim4asr.model.nim4 import Nim4
    from nim4asr.recipes import model_configuration

    config = model_configuration(options.model)
    with torch.device("meta"):
        counts = Nim4(config).parameter_counts()
    if options.json:
        print(json.dumps(counts))
        return 0
    print(config.name)
    for name, count in counts.items():
        print(f"  {name.replace('_', ' '):<14}{count / 1e6:>12,.2f} M")
    return 0
