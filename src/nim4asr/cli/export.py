"""``nim4 export MODEL``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command, check_new
from nim4asr.errors import InputError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "export",
        "write a model's graphs for onnxruntime beside its weights",
        "nim4 export model",
        "nim4 export model -o graphs",
        "nim4 export model --int8 -o small",
    )
    parser.add_argument("model", help="model folder or org/name on the hub")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where the graphs go (default: the model's folder)"
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="write a model of its own with weights in 8 bits, half the size, into the new folder -o",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Export, and say where."""
    from nim4asr.model.folder import ModelFolder

    folder = ModelFolder.open(options.model)
    output: Path = options.output or folder.path
    if options.int8 and output.resolve() == folder.path.resolve():
        raise InputError("weights in 8 bits make a model of their own; name its folder with -o")
    if options.int8:
        check_new(output)
    # What can be told is told before torch is loaded.
    import torch

    from nim4asr.model.checkpoint import load, save
    from nim4asr.runtime.export import export

    checkpoint = load(folder)
    if options.int8:
        save(checkpoint, output, torch.int8)
        print(output)
    for path in export(checkpoint.network, output):
        print(path)
    return 0
