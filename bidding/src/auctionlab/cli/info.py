"""What is installed, and on what it runs.

Examples:
  auctionlab info
  auctionlab info --json

"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform

import auctionlab
from auctionlab.cli.output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options of its own."""


def run(options: argparse.Namespace) -> None:
    """Print versions and the number of processors."""
    facts: dict[str, object] = {
        "auctionlab": auctionlab.__version__,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    for package in ("numpy", "numba", "scipy", "gymnasium", "pettingzoo", "polars", "torch"):
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = None
    if options.json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:12s}{'not installed' if value is None else value}")
