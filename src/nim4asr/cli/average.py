"""``nim4 average MODEL MODEL...``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command, check_new


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "average",
        "write the mean of the weights of models that one training led to",
        "nim4 average runs/first/model runs/longer/model -o model",
        "nim4 average early late latest -o model",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="model folders or org/name on the hub")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", required=True, help="the folder of the new model"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Average, and say where the model is."""
    check_new(options.output)
    from nim4asr.model.averaging import average
    from nim4asr.model.checkpoint import save, stored_dtype

    save(average(options.models), options.output, stored_dtype(options.models[0]))
    print(options.output)
    return 0
