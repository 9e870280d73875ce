"""``nim4 transcribe AUDIO...``"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import (
    add_command,
    add_decoding_options,
    add_hint_option,
    add_hotword_options,
    add_model_options,
    add_offline_options,
    add_quiet_options,
    add_subtitle_options,
    load_hotwords,
    load_recognizer,
    subtitle_config,
)
from nim4asr.cli.outputs import OutputFolder
from nim4asr.cli.progress import progress
from nim4asr.errors import InputError
from nim4asr.recognition.writers import FORMATS, write

if TYPE_CHECKING:
    from nim4asr.recognition.result import Transcript


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "transcribe",
        "write down what is said in audio files",
        "nim4 transcribe talk.mp3",
        "nim4 transcribe *.wav --format srt --output-dir subtitles --hotwords names.db",
    )
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="audio files")
    parser.add_argument("--format", choices=FORMATS, default="txt")
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="one file an audio here instead of stdout; another audio's is never written over",
    )
    parser.add_argument("--itn", action="store_true", help="write numbers, dates and amounts in digits")
    add_hotword_options(parser)
    add_hint_option(parser)
    add_decoding_options(parser)
    add_offline_options(parser)
    add_quiet_options(parser)
    add_subtitle_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Transcribe each file; a bad one is named on stderr and the others are still done."""
    layout = subtitle_config(options, [options.format])
    hotwords = load_hotwords(options)
    recognizer = load_recognizer(options)
    output = None if options.output_dir is None else OutputFolder(options.output_dir, options.format)
    failed = 0
    for audio in progress(options.audio, "transcribing", len(options.audio)):
        try:
            transcript = recognizer.transcribe(
                audio, hotwords=hotwords, hints=options.hint, gain=options.gain
            )
            if options.itn:
                transcript = transcript.with_digits()
            text = write(transcript, options.format, layout)
            for warning in transcript.warnings:
                print(f"nim4: {warning}", file=sys.stderr)
            if output is not None:
                output.write(audio, text)
            else:
                _print(transcript, text, options.format, several=len(options.audio) > 1)
        except InputError as error:
            failed += 1
            print(f"nim4: {error}", file=sys.stderr)
    return 1 if failed else 0


def _print(transcript: "Transcript", text: str, format: str, several: bool) -> None:
    # Plain text of several files needs to say which is which; the other formats do so or stand alone.
    prefix = f"{transcript.audio}\t" if several and format == "txt" else ""
    sys.stdout.write(prefix + text)
    sys.stdout.flush()
