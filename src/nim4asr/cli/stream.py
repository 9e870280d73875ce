"""``nim4 stream AUDIO`` and ``nim4 stream --mic``"""

import argparse
import sys
from dataclasses import replace
from typing import Any

from nim4asr.cli.live import add_source_options, shower, source_blocks
from nim4asr.cli.options import (
    add_command,
    add_decoding_options,
    add_hint_option,
    add_hotword_options,
    add_model_options,
    add_streaming_options,
    decoding_config,
    load_hotwords,
    load_recognizer,
    streaming_config,
    tell_if_whole,
)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "stream",
        "write down speech while it is said",
        "nim4 stream --mic",
        "nim4 stream talk.mp3 --pace --json --chunk 320 --end-silence 0.8",
    )
    add_source_options(parser)
    add_hotword_options(parser)
    add_hint_option(parser)
    add_streaming_options(parser)
    add_decoding_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Stream the file or the microphone to stdout."""
    blocks = source_blocks(options)
    hotwords = load_hotwords(options)
    config = streaming_config(options)
    recognizer = load_recognizer(options)
    tell_if_whole(recognizer.model)
    config = replace(config, decoding=decoding_config(options, recognizer.model))
    stream = recognizer.stream(config, hints=options.hint, hotwords=hotwords)
    show = shower(options.json, sys.stdout)
    try:
        for block in blocks:
            show(stream.feed(block))
    except KeyboardInterrupt:
        if not options.mic:
            raise
    finally:
        # What was heard before Ctrl-C, or before a file turned out to be broken, is still written down.
        show(stream.finish())
    return 0
