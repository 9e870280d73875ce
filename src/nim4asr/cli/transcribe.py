"""``nim4 transcribe AUDIO...``"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.audio.samples import Channels, as_channels
from nim4asr.cli.bulk import PARQUET, add_bulk_options, check_no_bulk_options, run_bulk
from nim4asr.cli.inputs import JobInput, job_inputs, read_stdin
from nim4asr.cli.options import (
    add_command,
    add_decoding_options,
    add_hint_option,
    add_hotword_options,
    add_model_options,
    add_nbest_option,
    add_offline_options,
    add_quiet_options,
    add_subtitle_options,
    check_nbest_option,
    load_hotwords,
    load_recognizer,
    subtitle_config,
)
from nim4asr.cli.outputs import STDIN, OutputFolder, Summary
from nim4asr.cli.progress import JobProgress
from nim4asr.errors import InputError
from nim4asr.recognition.writers import FORMATS, write

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.recognition.offline import Recognizer
    from nim4asr.recognition.result import Transcript


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "transcribe",
        "write down what is said in audio files",
        "nim4 transcribe talk.mp3",
        "nim4 transcribe *.wav --format srt --output-dir subtitles --hotwords names.db",
        "nim4 transcribe lectures --recursive --format srt,json --output-dir out --skip-existing",
        "nim4 transcribe - < call.wav",
        "nim4 transcribe call.wav --channels apart",
        "nim4 transcribe archive --ray auto --output-dir out",
        "",
        "exit status: 0 all files are done or skipped, 1 some or all are not, 2 the options are wrong,",
        "130 interrupted, 141 the reader of the output has gone, 143 ended by SIGTERM",
    )
    parser.add_argument(
        "audio", nargs="+", metavar="AUDIO", help="audio files; folders with --recursive; - for stdin"
    )
    parser.add_argument(
        "--format",
        type=_formats,
        action="extend",
        metavar="FORMAT",
        help=f"{', '.join(FORMATS)}; several with commas between them (default: txt); parquet with --ray",
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="one file an audio here instead of stdout; another audio's is never written over",
    )
    parser.add_argument(
        "--recursive",
        action="store_true",
        help="take the audio files in the folders that are given and in all folders in them",
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out audios whose files in --output-dir are all there, to go on with a job",
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="a row of JSON an audio here: what became of it"
    )
    parser.add_argument(
        "--channels",
        type=_channels,
        default="mixed",
        metavar="HOW",
        help="mixed: the mean of all (the default); apart: each for itself, as of a telephone call with a "
        "speaker a channel; or the number, from 1, of the only one that counts",
    )
    parser.add_argument("--itn", action="store_true", help="write numbers, dates and amounts in digits")
    add_hotword_options(parser)
    add_hint_option(parser)
    add_decoding_options(parser)
    add_nbest_option(parser)
    add_offline_options(parser)
    add_quiet_options(parser)
    add_subtitle_options(parser)
    add_bulk_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Transcribe each file; a bad one is named on stderr and the others are still done."""
    formats = list(dict.fromkeys(options.format or ["txt" if options.ray is None else "json"]))
    layout = subtitle_config(options, formats)
    if options.ray is not None:
        return run_bulk(options, formats)
    check_no_bulk_options(options, formats)
    check_nbest_option(options, formats)
    if options.output_dir is None and len(formats) > 1:
        raise InputError("several formats are several files an audio: add --output-dir DIR")
    if options.output_dir is None and options.skip_existing:
        raise InputError("--skip-existing is about the files in a folder: add --output-dir DIR")
    inputs = job_inputs(options.audio, options.recursive)
    hotwords = load_hotwords(options)
    recognizer = load_recognizer(options)
    output = None if options.output_dir is None else OutputFolder(options.output_dir, formats)
    summary = Summary(options.summary)
    failed = 0
    with JobProgress([one.size for one in inputs]) as progress:
        for one in inputs:
            try:
                if output is not None and options.skip_existing and one.audio != STDIN:
                    there = output.existing(one.audio, one.under)
                    if there is not None:
                        progress.skip(one.size)
                        summary.add({"audio": one.audio, "status": "skipped", "files": list(map(str, there))})
                        continue
                transcript = _transcribed(one, options, recognizer, hotwords, progress)
                texts = {format: write(transcript, format, layout) for format in formats}
                for warning in transcript.told:
                    progress.say(f"nim4: {warning}")
                files: list[Path] = []
                if output is not None:
                    files = output.write(one.audio, texts, one.under)
                else:
                    _print(transcript, texts[formats[0]], formats[0], several=len(inputs) > 1)
                summary.add(_row(transcript, one.audio, files))
            except InputError as error:
                failed += 1
                progress.say(f"nim4: {error}")
                summary.add({"audio": one.audio, "status": "failed", "error": str(error)})
            progress.done(one.size)
    summary.close()
    return 1 if failed else 0


def _transcribed(
    one: JobInput,
    options: argparse.Namespace,
    recognizer: "Recognizer",
    hotwords: "HotwordIndex | None",
    progress: JobProgress,
) -> "Transcript":
    source = read_stdin() if one.audio == STDIN else one.audio
    if isinstance(source, str) and Path(source).is_dir():
        raise InputError(f"{source}: this is a folder; add --recursive for the audio files in it")
    transcript = recognizer.transcribe(
        source,
        name=one.audio,
        hotwords=hotwords,
        hints=options.hint,
        gain=options.gain,
        channels=options.channels,
        progress=progress.within(one.audio, one.size),
    )
    return transcript.with_digits() if options.itn else transcript


def _row(transcript: "Transcript", audio: str, files: list[Path]) -> Mapping[str, Any]:
    return {
        "audio": audio,
        "status": "done",
        "files": list(map(str, files)),
        "duration": round(transcript.duration, 3),
        "computing_s": round(transcript.computing_s, 3),
        "segments": len(transcript.segments),
        "characters": len(transcript.text),
        "warnings": list(transcript.told),
    }


def _formats(text: str) -> list[str]:
    formats = [part.strip() for part in text.split(",")]
    for format in formats:
        if format not in (*FORMATS, PARQUET):
            raise argparse.ArgumentTypeError(f"{format!r} is none of {', '.join(FORMATS)}, {PARQUET}")
    return formats


def _channels(text: str) -> Channels:
    try:
        return as_channels(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _print(transcript: "Transcript", text: str, format: str, several: bool) -> None:
    # Plain text of several files needs to say which is which; the other formats do so or stand alone.
    prefix = f"{transcript.audio}\t" if several and format == "txt" else ""
    sys.stdout.write(prefix + text)
    sys.stdout.flush()
