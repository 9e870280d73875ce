"""``nim4 export MODEL``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "export",
        "write a model's graphs for onnxruntime beside its weights",
        "nim4 export model",
        "nim4 export model -o graphs",
    )
    parser.add_argument("model", help="model folder or org/name on the hub")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where the graphs go (default: the model's folder)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export, and say where."""
    from nim4asr.model.checkpoint import load
    from nim4asr.model.folder import locate
    from nim4asr.runtime.export import export

    folder = locate(options.model)
    for path in export(load(folder).network, options.output or folder):
        print(path)
    return 0
