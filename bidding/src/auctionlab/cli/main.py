"""The command line: one thin file a command."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from auctionlab.cli import (
    convert,
    demo,
    evaluate,
    experiment,
    info,
    optimum,
    replay,
    report,
    simulate,
    train,
)
from auctionlab.cli.errors import MissingExtraError

COMMANDS = {
    "demo": demo,
    "simulate": simulate,
    "optimum": optimum,
    "train": train,
    "evaluate": evaluate,
    "replay": replay,
    "convert": convert,
    "experiment": experiment,
    "report": report,
    "info": info,
}


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one sentence, and names the nearest word that it knows."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice:" in message:
            given = message.split("invalid choice: ")[1].split("'")[1]
            known = message.split("(choose from ")[1].rstrip(")").replace("'", "").split(", ")
            near = difflib.get_close_matches(given, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            message = f"there is no {given}; {hint}"
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    parser = _Parser(
        prog="auctionlab",
        description="An exact engine and a laboratory for bidding in sponsored search.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        text = (module.__doc__ or "").strip()
        own = commands.add_parser(
            name,
            help=text.splitlines()[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        own.add_argument("--json", action="store_true", help="print the result as JSON")
        module.add_arguments(own)
        own.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing more is to be said, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write(f"auctionlab {options.command}: stopped\n")
        return 130
    except (ValueError, OSError, MissingExtraError) as error:
        sys.stderr.write(f"auctionlab {options.command}: {_sentence(error)}\n")
        return 2
    return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
