"""``nim4``: parse, run, and turn an ``InputError`` into one sentence and a non-zero exit."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from nim4asr.cli import analyze, convert, evaluate, hotwords, importing, info, new, stream, train, transcribe
from nim4asr.errors import InputError

_COMMANDS = (transcribe, stream, hotwords, evaluate, info, new, importing, convert, train, analyze)


def parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    whole = argparse.ArgumentParser(prog="nim4", description="Speech recognition with NIM4-ASR.")
    whole.add_argument("--version", action="version", version=version("nim4asr"))
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except InputError as error:
        print(f"nim4: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("nim4: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (``nim4 ... | head``). Python must not find the closed pipe again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


if __name__ == "__main__":
    sys.exit(main())
