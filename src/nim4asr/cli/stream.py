"""``nim4 stream AUDIO`` and ``nim4 stream --mic``"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

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
)
from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.recognition.events import Event
    from nim4asr.recognition.frontend import Samples

# As much as a microphone or a telephone line hands over at once.
BLOCK = 1600


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "stream",
        "write down speech while it is said",
        "nim4 stream --mic",
        "nim4 stream talk.mp3 --pace --json --chunk 320 --end-silence 0.8",
    )
    parser.add_argument("audio", nargs="?", metavar="AUDIO", help="an audio file, heard as if live")
    parser.add_argument("--mic", action="store_true", help="listen to the microphone, until Ctrl-C")
    parser.add_argument("--pace", action="store_true", help="hear the file no faster than it was said")
    parser.add_argument("--json", action="store_true", help="one event a line, as JSON")
    add_hotword_options(parser)
    add_hint_option(parser)
    add_streaming_options(parser)
    add_decoding_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Stream the file or the microphone to stdout."""
    if options.mic == (options.audio is not None):
        raise InputError("give either an audio file or --mic")
    if options.pace and options.mic:
        raise InputError("--pace is for files; a microphone has its own pace")
    hotwords = load_hotwords(options)
    config = streaming_config(options)
    recognizer = load_recognizer(options)
    config = replace(config, decoding=decoding_config(options, recognizer.model))
    stream = recognizer.stream(config, hints=options.hint, hotwords=hotwords)
    show = _shower(options.json, sys.stdout)
    blocks = _microphone() if options.mic else _file(options.audio, options.pace)
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


def _microphone() -> Iterator["Samples"]:
    from nim4asr.audio.microphone import listen

    for number, block in enumerate(listen()):
        if number == 0:
            print("nim4: listening; Ctrl-C ends", file=sys.stderr)
        yield block


def _file(audio: str, pace: bool) -> Iterator["Samples"]:
    from nim4asr.audio.features import SAMPLE_RATE
    from nim4asr.audio.reading import stream_audio

    began, heard = time.monotonic(), 0
    for block in stream_audio(audio, lambda warning: print(f"nim4: {warning}", file=sys.stderr)):
        for start in range(0, len(block), BLOCK):
            part = block[start : start + BLOCK]
            heard += len(part)
            if pace:
                # Samples exist once they have been said.
                time.sleep(max(0.0, began + heard / SAMPLE_RATE - time.monotonic()))
            yield part


def _shower(as_json: bool, out: TextIO) -> Callable[[Iterable["Event"]], None]:
    if as_json:
        return lambda events: _lines(out, (to_json(event) for event in events))
    if out.isatty():
        return Screen(out, shutil.get_terminal_size().columns)
    return lambda events: _lines(out, _finals(events))


def _lines(out: TextIO, lines: Iterable[str]) -> None:
    for line in lines:
        out.write(line + "\n")
        out.flush()


def _finals(events: Iterable["Event"]) -> Iterator[str]:
    from nim4asr.recognition.events import Final

    for event in events:
        if isinstance(event, Final) and event.segment.text:
            yield event.segment.text


def to_json(event: "Event") -> str:
    """The event as one JSON object; ``event`` names its kind."""
    from nim4asr.recognition.events import Failed, Final, Partial, SpeechEnded, SpeechStarted
    from nim4asr.recognition.writers import segment_row

    row: dict[str, object]
    match event:
        case SpeechStarted(at):
            row = {"event": "speech_started", "time": round(at, 3)}
        case Partial(at, stable, volatile):
            row = {"event": "partial", "time": round(at, 3), "stable": stable, "volatile": volatile}
        case SpeechEnded(at, reason):
            row = {"event": "speech_ended", "time": round(at, 3), "reason": reason}
        case Failed(error):
            row = {"event": "failed", "error": str(error)}
        case Final(at, segment):
            row = {
                "event": "final",
                "time": round(at, 3),
                **segment_row(segment),
                "phonemes": " ".join(segment.phonemes),
            }
    return json.dumps(row, ensure_ascii=False)


class Screen:
    """A terminal: stable text plain, volatile text dim, each segment on lines of its own."""

    def __init__(self, out: TextIO, columns: int) -> None:
        self._out, self._columns = out, columns

    def __call__(self, events: Iterable["Event"]) -> None:
        from nim4asr.recognition.events import Final, Partial

        for event in events:
            if isinstance(event, Partial):
                stable, volatile = self._last_columns(event.stable, event.volatile)
                self._out.write(f"\r\x1b[K{stable}\x1b[2m{volatile}\x1b[0m")
            elif isinstance(event, Final):
                end = "\n" if event.segment.text else ""
                self._out.write(f"\r\x1b[K{event.segment.text}{end}")
            self._out.flush()

    def _last_columns(self, stable: str, volatile: str) -> tuple[str, str]:
        """The end of the text that fits on one line, which alone can be rewritten."""
        room = self._columns - 1
        volatile = _fitting(volatile, room)
        return _fitting(stable, room - _width(volatile)), volatile


def _width(text: str) -> int:
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _fitting(text: str, columns: int) -> str:
    while _width(text) > columns:
        text = text[1:]
    return text
