"""Write one page with an experiment's tables and pictures, to be opened in any browser.

Examples:
  auctionlab report runs/collusion
  auctionlab report runs/day-shift --out day-shift.html

"""

from __future__ import annotations

import argparse
from pathlib import Path

from auctionlab.cli.output import print_json
from auctionlab.evaluation.sections import page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="what `experiment --out DIR` wrote")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default DIR/report.html)")


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    text = page(options.folder)
    target = options.out or options.folder / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    if options.json:
        print_json({"out": str(target)})
    else:
        print(target)
