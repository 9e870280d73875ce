"""``nim4 runs status DIR`` and ``nim4 runs plot DIR``"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "runs",
        "how a training run stands: its stages, losses and errors",
        "nim4 runs status runs/nano",
        "nim4 runs plot runs/nano",
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    status = kinds.add_parser("status", help="stages, steps, the newest losses, errors on dev")
    status.add_argument("folder", type=Path, metavar="DIR", help="the run's folder")
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(run=run_status)
    plot = kinds.add_parser("plot", help="draw its logs into DIR/plots")
    plot.add_argument("folder", type=Path, metavar="DIR", help="the run's folder")
    plot.set_defaults(run=run_plot)


def run_status(options: argparse.Namespace) -> int:
    """Print where the run stands."""
    from nim4asr.training.status import as_text, read_status

    status = read_status(options.folder)
    print(json.dumps(asdict(status), ensure_ascii=False) if options.json else as_text(status))
    return 0


def run_plot(options: argparse.Namespace) -> int:
    """Draw, and print the pictures' paths."""
    from nim4asr.training.plots import plot_run

    for path in plot_run(options.folder):
        print(path)
    if not any(options.folder.glob("plots/*.png")):
        print("nim4: nothing has been logged yet", file=sys.stderr)
    return 0
