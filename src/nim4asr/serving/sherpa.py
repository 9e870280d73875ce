"""The WebSocket protocols of sherpa-onnx: of its streaming server, and of its server for recordings.

Streaming: binary messages of 32-bit floats at 16 kHz, the text ``Done`` at the end. Answers are JSON rows
with the segment's text so far, and ``Done!`` at the end.

Recordings: a sample rate and a number of bytes, each a 32-bit integer, and so many bytes of 32-bit floats, in
messages cut anywhere; the answer is one JSON row, and the next recording may follow, or ``Done``. All
integers and floats are little-endian. A first message tells which it is: as samples, those two integers would
be floats below 1e-38, which no sound begins with.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nim4asr.errors import InputError
from nim4asr.recognition.events import Event, Failed, Final, Partial
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.serving.admission import Place
from nim4asr.serving.errors import ApiError
from nim4asr.serving.formats import RATES
from nim4asr.serving.json_text import written
from nim4asr.serving.live import LiveConnection, LiveProtocol
from nim4asr.serving.reading import RecordingOptions
from nim4asr.serving.recordings import Recognition, Spool, recording_place, wav_header
from nim4asr.serving.state import State

_DONE = "Done"
_HEADER = 8


class SherpaOnnx(LiveProtocol):
    """A client of either kind."""

    name = "sherpa-onnx"

    def __init__(self, state: State, place: Place, connection: LiveConnection[str | bytes]) -> None:
        self._state, self._place, self._connection = state, place, connection
        self._segment = 0
        self._streaming = False

    async def converse(self) -> None:
        message = await self._message()
        if message is not None and _header(message) is not None:
            await self._recordings(message)
            return
        self._streaming = True
        await self._connection.open(0)
        while message is not None:
            if len(message) % 4:
                raise InputError("expected 32-bit float samples at 16 kHz")
            await self._connection.feed(np.frombuffer(message, "<f4"))
            message = await self._message()
        await self.conclude()

    async def conclude(self) -> None:
        await self._connection.finish()
        if self._streaming:
            self._connection.post(f"{_DONE}!")

    def rows(self, generation: int, events: Sequence[Event]) -> Iterator[str]:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Partial):
                yield self._row(event.stable + event.volatile, False)
            elif isinstance(event, Final):
                yield self._row(event.segment.text, True, event.segment)
                self._segment += 1

    def error(self, error: ApiError) -> str:
        return written({"error": error.message})

    async def _message(self) -> bytes | None:
        """The client's next samples; None at their end."""
        message = await self._connection.receive()
        if isinstance(message, bytes):
            return message
        if message.strip() == _DONE:
            return None
        raise InputError(f"expected samples, or the text {_DONE}")

    async def _recordings(self, message: bytes | None) -> None:
        """One recording after another, ``message`` being the first of the first."""
        while message is not None:
            begun = _header(message)
            if begun is None:
                raise InputError("expected a sample rate, a number of bytes, and so many of float samples")
            rate, size = begun
            place = recording_place(self._state, self._place.client)
            spool = Spool(self._state.config.max_upload_bytes)
            try:
                await spool.write(wav_header(rate, floats=True))
                message = message[_HEADER:]
                while len(message) < size:
                    await spool.write(message)
                    size -= len(message)
                    if (more := await self._message()) is None:
                        raise InputError(f"{size} bytes of the recording are missing")
                    message = more
                await spool.write(message[:size])
                if message[size:]:
                    raise InputError("expected the answer to be waited for before the next recording")
            except BaseException:
                place.release()
                spool.close()
                raise
            recognition = await Recognition.begin(self._state, place, spool, RecordingOptions())
            self._connection.post(_transcript_row(await recognition.transcript()))
            message = await self._message()

    def _row(self, text: str, final: bool, segment: Segment | None = None) -> str:
        words = segment.words if segment else ()
        row: dict[str, Any] = {
            "text": text,
            "tokens": [word.text for word in words],
            "timestamps": [round(word.start, 3) for word in words],
            "start_time": round(segment.start, 3) if segment else 0.0,
            "segment": self._segment,
            "is_final": final,
            "is_eof": False,
        }
        return written(row)


def _header(message: bytes) -> tuple[int, int] | None:
    """The sample rate and the number of bytes of the recording that ``message`` begins; None if it begins
    none.
    """
    if len(message) < _HEADER:
        return None
    rate, size = struct.unpack_from("<II", message)
    return (rate, size) if rate in RATES and size and size % 4 == 0 else None


def _transcript_row(transcript: Transcript) -> str:
    words = [word for segment in transcript.segments for word in segment.words]
    row = {
        "text": transcript.text,
        "tokens": [word.text for word in words],
        "timestamps": [round(word.start, 3) for word in words],
    }
    return written(row)
