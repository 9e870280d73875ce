"""``nim4 import firered DIR -o DIR``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import",
        "make a model folder of another project's weights",
        "nim4 import firered FireRedASR-AED-L -o model",
        "nim4 import firered FireRedASR-LLM-L -o model",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    firered = kinds.add_parser("firered", help="a FireRedASR-AED or FireRedASR-LLM folder")
    firered.add_argument("folder", type=Path, metavar="DIR")
    firered.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    firered.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Import, and say what came over."""
    from nim4asr.model.checkpoint import save
    from nim4asr.model.firered import import_firered

    checkpoint = import_firered(options.folder)
    save(checkpoint, options.output)
    counts = checkpoint.network.parameter_counts()
    parts = ", ".join(
        f"{name.replace('_', ' ')} {count / 1e6:.1f} M"
        for name, count in counts.items()
        if count and name != "total"
    )
    print(f"{options.output}: {checkpoint.config.name} ({parts})")
    return 0
