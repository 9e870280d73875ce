"""``nim4 client AUDIO`` and ``nim4 client --mic``"""

import argparse
import os
import sys
from typing import Any

from nim4asr.cli.live import add_source_options, shower, source_blocks
from nim4asr.cli.options import add_command


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "client",
        "write down speech while it is said, by a server",
        "nim4 client talk.mp3 --server http://localhost:8000",
        "nim4 client --mic --hint 张伟东 --json",
    )
    add_source_options(parser)
    parser.add_argument(
        "--server",
        default="http://localhost:8000",
        metavar="URL",
        help="the server's address (default: http://localhost:8000)",
    )
    parser.add_argument(
        "--hint", action="append", default=[], metavar="NAME", help="a name that may be said (repeatable)"
    )
    parser.add_argument("--hotwords", metavar="NAME", help="a list of names of the server")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Stream the file or the microphone to the server."""
    from nim4asr.serving.client import ClientOptions, stream_to_server

    asked = ClientOptions(
        options.server, os.environ.get("NIM4_API_KEY", ""), tuple(options.hint), options.hotwords
    )
    show = shower(options.json, sys.stdout)
    for event in stream_to_server(source_blocks(options), asked):
        show([event])
    return 0
