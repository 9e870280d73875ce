"""Turn a log of another project into a canonical log, or check a canonical one.

Examples:
  auctionlab convert auctionnet period-7.csv day.parquet
  auctionlab convert ipinyou-raw imp.20130606.txt day.parquet

"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from auctionlab.cli.output import print_json
from auctionlab.logs import auctionnet, ipinyou, table
from auctionlab.market.market import Market

_READERS: dict[str, Callable[[Path], Market]] = {
    "canonical": lambda path: table.read(path).market,
    "ipinyou": ipinyou.read_prepared,
    "ipinyou-raw": ipinyou.read_raw,
    "auctionnet": lambda path: auctionnet.read(path)[0],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("form", choices=list(_READERS), help="what the log is")
    parser.add_argument("source", type=Path, help="the log")
    parser.add_argument("target", type=Path, help="the canonical log to write, as .parquet")


def run(options: argparse.Namespace) -> None:
    """Read, check and write."""
    if options.target.suffix != ".parquet":
        raise ValueError(f"the canonical log is written as Parquet; name it {options.target.stem}.parquet")
    market: Market = _READERS[options.form](options.source)
    table.write(market, options.target)
    facts = {
        "auctions": market.auctions,
        "candidates": market.candidates,
        "ads": market.ads,
        "hours": market.hours,
        "fidelity": market.fidelity.value,
    }
    if options.json:
        print_json(facts)
        return
    print(f"{options.target}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
