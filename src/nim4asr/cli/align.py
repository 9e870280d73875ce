"""``nim4 align AUDIO TEXT``"""

import argparse
import sys
from pathlib import Path
from typing import Any

from nim4asr.cli.inputs import read_stdin
from nim4asr.cli.options import (
    add_command,
    add_model_options,
    add_quiet_options,
    add_subtitle_options,
    load_recognizer,
    subtitle_config,
)
from nim4asr.cli.outputs import STDIN, OutputFolder
from nim4asr.cli.progress import JobProgress
from nim4asr.errors import InputError
from nim4asr.files import decoded, read_text, reason
from nim4asr.recognition.alignment_writers import ENDINGS, FORMATS, write


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "align",
        "find when each word of a given text is said",
        "nim4 align talk.mp3 talk.txt",
        "nim4 align book.mp3 chapter.txt --format textgrid,json,srt,ctm --output-dir aligned",
        "",
        "exit status: 0 also if a part of the text is not said, which stderr tells; 1 if none of it is",
    )
    parser.add_argument("audio", metavar="AUDIO", help="an audio file; - for stdin")
    parser.add_argument("text", metavar="TEXT", help="a file with what is said in it; - for stdin")
    parser.add_argument(
        "--format",
        type=_formats,
        action="extend",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}; several with commas between them (default: txt, a word a line)",
    )
    parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="a file a format here instead of stdout"
    )
    add_quiet_options(parser)
    add_subtitle_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Align; what of text and audio does not fit is told on stderr."""
    formats = list(dict.fromkeys(options.format or ["txt"]))
    layout = subtitle_config(options, formats)
    if options.output_dir is None and len(formats) > 1:
        raise InputError("several formats are several files: add --output-dir DIR")
    if options.audio == options.text == STDIN:
        raise InputError("standard input (-) can be read once: for the audio or for the text")
    text = _text(options.text)
    recognizer = load_recognizer(options)
    output = None
    if options.output_dir is not None:
        output = OutputFolder(options.output_dir, [ENDINGS.get(format, format) for format in formats])
    size = (
        0
        if options.audio == STDIN or not Path(options.audio).is_file()
        else Path(options.audio).stat().st_size
    )
    with JobProgress([size], "aligning") as progress:
        found = recognizer.align(
            read_stdin() if options.audio == STDIN else options.audio,
            text,
            name=options.audio,
            gain=options.gain,
            progress=progress.within(options.audio, size),
        )
        for told in found.told:
            progress.say(f"nim4: {told}")
    texts = {ENDINGS.get(format, format): write(found, format, layout) for format in formats}
    if output is not None:
        output.write(options.audio, texts)
    else:
        sys.stdout.write(texts[ENDINGS.get(formats[0], formats[0])])
        sys.stdout.flush()
    return 0


def _text(place: str) -> str:
    if place != STDIN:
        return read_text(Path(place), "text")
    try:
        return decoded(read_stdin())
    except ValueError as error:
        raise InputError(f"-: the text cannot be read ({reason(error)})") from None


def _formats(text: str) -> list[str]:
    formats = [part.strip() for part in text.split(",")]
    for format in formats:
        if format not in FORMATS:
            raise argparse.ArgumentTypeError(f"{format!r} is none of {', '.join(FORMATS)}")
    return formats
