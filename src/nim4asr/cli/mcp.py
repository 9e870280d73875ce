"""``nim4 mcp DIR...``"""

import argparse
from pathlib import Path
from typing import Any

from nim4asr.cli.options import add_command, add_decoding_options, add_model_options, load_recognizer
from nim4asr.errors import InputError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "mcp",
        "offer transcription to an agent, by the Model Context Protocol over stdio",
        "nim4 mcp recordings",
        "nim4 mcp meetings calls --model org/name",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="the folders whose files may be transcribed"
    )
    add_decoding_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until the agent ends."""
    from nim4asr.serving.mcp import mcp_server

    for folder in options.folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder")
    mcp_server(load_recognizer(options), options.folders).run("stdio")
    return 0
