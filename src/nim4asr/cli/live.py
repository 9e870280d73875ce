"""Live sound from a file or the microphone, and what shows the events of its recognition."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.audio.samples import Floats
    from nim4asr.recognition.events import Event

# As much as a microphone or a telephone line hands over at once.
BLOCK = 1600


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """The audio file, ``--mic``, ``--pace``, ``--json``."""
    parser.add_argument("audio", nargs="?", metavar="AUDIO", help="an audio file, heard as if live")
    parser.add_argument("--mic", action="store_true", help="listen to the microphone, until Ctrl-C")
    parser.add_argument("--pace", action="store_true", help="hear the file no faster than it was said")
    parser.add_argument("--json", action="store_true", help="one event a line, as JSON")


def source_blocks(options: argparse.Namespace) -> Iterator["Floats"]:
    """The blocks of 16 kHz samples of the source that the options name; Ctrl-C ends those of the microphone.

    Raises ``InputError`` at once for options that do not go together.
    """
    if options.mic == (options.audio is not None):
        raise InputError("give either an audio file or --mic")
    if options.pace and options.mic:
        raise InputError("--pace is for files; a microphone has its own pace")
    return _microphone() if options.mic else _file(options.audio, options.pace)


def _microphone() -> Iterator["Floats"]:
    import numpy as np

    from nim4asr.audio.microphone import listen

    try:
        for number, block in enumerate(listen()):
            if number == 0:
                print("nim4: listening; Ctrl-C ends", file=sys.stderr)
            yield np.frombuffer(block, "<i2").astype(np.float32) / np.float32(32768)
    except KeyboardInterrupt:
        return


def _file(audio: str, pace: bool) -> Iterator["Floats"]:
    from nim4asr.audio.reading import stream_audio
    from nim4asr.audio.samples import SAMPLE_RATE

    began, heard = time.monotonic(), 0
    for block in stream_audio(audio, lambda warning: print(f"nim4: {warning}", file=sys.stderr)):
        for start in range(0, len(block), BLOCK):
            part = block[start : start + BLOCK]
            heard += len(part)
            if pace:
                # Samples exist once they have been said.
                time.sleep(max(0.0, began + heard / SAMPLE_RATE - time.monotonic()))
            yield part


def shower(as_json: bool, out: TextIO) -> Callable[[Iterable["Event"]], None]:
    """What shows events: as JSON, on a terminal while they change, or the finals alone."""
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
    from nim4asr.recognition.events import Failed, Final, Marked, Partial, SpeechEnded, SpeechStarted
    from nim4asr.recognition.writers import segment_row

    row: dict[str, object]
    match event:
        case SpeechStarted(at):
            row = {"event": "speech_started", "time": round(at, 3)}
        case Partial(at, stable, volatile):
            row = {"event": "partial", "time": round(at, 3), "stable": stable, "volatile": volatile}
        case SpeechEnded(at, reason):
            row = {"event": "speech_ended", "time": round(at, 3), "reason": reason}
        case Marked():
            row = {"event": "marked"}
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
