"""``nim4 convert SOURCE TARGET``"""

import argparse
import sys
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command
from nim4asr.cli.progress import progress
from nim4asr.errors import InputError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "convert",
        "manifest (.jsonl), Lhotse cuts (.jsonl.gz) and shar (a folder) into one another",
        "nim4 convert cuts.jsonl.gz corpora/speech/mine.jsonl",
        "nim4 convert corpora/speech/mine.jsonl shar",
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--allow-commands",
        action="store_true",
        help="run the shell commands and fetch the addresses that Lhotse's cuts name as their sound",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Convert, and say what was left out."""
    from nim4asr.data.lhotse import convert

    done = convert(
        options.source,
        options.target,
        progress,
        options.allow_commands,
    )
    for name, why in done.left_out.items():
        print(f"nim4: left out {name}: {why}", file=sys.stderr)
    if not done.written:
        raise InputError(f"{options.source}: nothing in it could be converted")
    print(f"{done.written} utterances")
    return 0
