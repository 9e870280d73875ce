"""The Wyoming protocol of Home Assistant's voice satellites, over TCP; its messages by its own package.

``describe`` is answered with what the model is; ``transcribe``, ``audio-start``, ``audio-chunk`` ... and
``audio-stop`` with the transcript, and before it with the stable text as it grows. The protocol knows no
keys.

Messages are read here: the package's own reading takes whatever length it is told, and ends in a traceback at
what is no message.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event as Row
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info

from nim4asr.errors import InputError
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.serving.access import Client
from nim4asr.serving.errors import ApiError
from nim4asr.serving.formats import RATES
from nim4asr.serving.json_text import parsed_object
from nim4asr.serving.live import ClientGone, LiveConnection, LiveProtocol, Wire
from nim4asr.serving.logs import SERVER
from nim4asr.serving.state import State
from nim4asr.text.joining import addition

Parsed = TypeVar("Parsed")
_WIDTH = 2
_MOST_CHANNELS = 16
# Lengths of a message's line, its data and its sound; a satellite sends some kilobytes.
_MOST_LINE, _MOST_DATA, _MOST_PAYLOAD = 64 << 10, 1 << 20, 4 << 20
# A message that has begun must end in so many seconds.
_PATIENCE_S = 30.0
# A client that has been told the end has so long to close the connection.
_LINGER_S = 2.0


class WyomingWire(Wire[Row]):
    """A TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def receive(self) -> Row:
        try:
            # However long a client is silent between messages; that is the session's matter.
            first = await self._reader.readexactly(1)
            async with asyncio.timeout(_PATIENCE_S):
                return await self._message(first)
        except TimeoutError:
            raise InputError("a message that begins must end") from None
        except (asyncio.IncompleteReadError, OSError):
            # A network that is down is no ``ConnectionError``.
            raise ClientGone from None

    async def send(self, row: str | bytes) -> None:
        try:
            self._writer.write(row if isinstance(row, bytes) else row.encode())
            await self._writer.drain()
        except OSError:
            raise ClientGone from None

    async def close(self, error: ApiError | None) -> None:
        try:
            await self._linger()
            self._writer.close()
            await self._writer.wait_closed()
        except OSError:
            raise ClientGone from None

    def abort(self) -> None:
        """End the connection, whatever is left to be read of it."""
        self._writer.transport.abort()

    async def _linger(self) -> None:
        """Say that nothing more comes, and let the client end. If what it has sent meanwhile were left
        unread, the connection would be reset, and the last row lost with it.
        """
        await self._writer.drain()
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while await self._reader.read(_MOST_LINE):
                    pass

    async def _message(self, first: bytes) -> Row:
        try:
            line = first if first == b"\n" else first + await self._reader.readuntil()
        except asyncio.LimitOverrunError:
            raise InputError("the line of a message is too long") from None
        row = parsed_object(line)
        data = row.get("data") or {}
        if not isinstance(row.get("type"), str) or not isinstance(data, dict):
            raise InputError("expected a message: an object with a type, and an object as its data")
        if length := _length(row, "data_length", _MOST_DATA):
            data = {**data, **parsed_object(await self._reader.readexactly(length))}
        length = _length(row, "payload_length", _MOST_PAYLOAD)
        payload = await self._reader.readexactly(length) if length else None
        return Row(row["type"], data, payload)


class Wyoming(LiveProtocol):
    """Any number of recordings, one after another."""

    name = "wyoming"

    def __init__(self, state: State, connection: LiveConnection[Row]) -> None:
        self._state, self._connection = state, connection
        self._generation = 0
        self._names: tuple[str, ...] = ()
        self._start: AudioStart | None = None
        self._text = ""

    async def converse(self) -> None:
        while True:
            event = await self._connection.receive()
            if Describe.is_type(event.type):
                self._post(_info(self._state))
            elif Transcribe.is_type(event.type):
                self._names = _names(event)
            elif AudioStart.is_type(event.type):
                await self._open(_parsed(AudioStart.from_event, event))
            elif AudioChunk.is_type(event.type):
                await self._feed(_parsed(AudioChunk.from_event, event))
            elif AudioStop.is_type(event.type):
                await self._stop()

    async def conclude(self) -> None:
        if self._start is not None:
            await self._stop()

    def rows(self, generation: int, events: Sequence[Event]) -> Iterator[bytes]:
        for event in events:
            if generation != self._generation:
                return
            if isinstance(event, Failed):
                raise event.error
            # Finals alone: what a satellite has said it cannot take back.
            if isinstance(event, Final) and event.segment.text:
                added = addition(self._text, event.segment.text)
                self._text += added
                yield _written(TranscriptChunk(added).event())

    def error(self, error: ApiError) -> bytes:
        code = "bad-request" if error.status < 500 else "server-error"
        return _written(Error(text=error.message, code=error.code or code).event())

    def _post(self, message: Any) -> None:
        self._connection.post(_written(message.event()))

    async def _open(self, start: AudioStart) -> None:
        if start.width != _WIDTH or start.channels not in range(1, _MOST_CHANNELS + 1):
            raise InputError(f"expected 16-bit samples of 1 to {_MOST_CHANNELS} channels")
        if start.rate not in RATES:
            raise InputError(f"expected a rate of {RATES[0]} to {RATES[-1]} Hz")
        self._generation += 1
        self._start, self._text = start, ""
        await self._connection.open(self._generation, sample_rate=start.rate, names=self._names)
        self._post(TranscriptStart())

    async def _feed(self, chunk: AudioChunk) -> None:
        if self._start is None:
            await self._open(AudioStart(chunk.rate, chunk.width, chunk.channels))
        assert self._start is not None
        await self._connection.feed(_mono(chunk.audio, self._start.channels))

    async def _stop(self) -> None:
        await self._connection.finish()
        self._start = None
        self._post(TranscriptStop())
        self._post(Transcript(self._text))


async def serve_wyoming(state: State, host: str, port: int) -> asyncio.Server:
    """Listen for Wyoming's clients until the server is closed. Raises ``OSError`` if the port is taken."""
    sessions: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_serve(state, reader, writer))
        # Kept: a task that nobody holds may be collected.
        sessions.add(task)
        task.add_done_callback(sessions.discard)

    return await asyncio.start_server(connected, host, port, limit=_MOST_LINE)


async def _serve(state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    wire = WyomingWire(reader, writer)
    try:
        peer = writer.get_extra_info("peername")
        client = Client.of_address(str(peer[0]) if peer else "")
        try:
            state.access.admit(client)
            place = state.admission.session(client)
        except ApiError as error:
            writer.write(_written(Error(text=error.message, code=error.code).event()))
            with suppress(ClientGone):
                await wire.close(error)
            return
        connection = LiveConnection(state, place, wire)
        await connection.run(Wyoming(state, connection))
    except Exception:
        SERVER.exception("a Wyoming session failed")
    finally:
        wire.abort()


def _length(row: dict[str, Any], name: str, most: int) -> int:
    length = row.get(name)
    if length is None:
        return 0
    if type(length) is not int or not 0 <= length <= most:
        raise InputError(f"{name}: expected a number of bytes from 0 to {most}")
    return length


def _parsed(parse: Callable[[Row], Parsed], event: Row) -> Parsed:
    """What the package reads out of a message. Raises ``InputError`` for what it cannot."""
    for name in ("rate", "width", "channels"):
        if type(event.data.get(name)) is not int:
            raise InputError(f"{event.type[:80]}: expected a whole number as its {name}")
    try:
        return parse(event)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{event.type[:80]}: this message lacks what it is to have") from None


def _names(event: Row) -> tuple[str, ...]:
    names = event.data.get("transcript_terms") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("transcript_terms: expected a list of names")
    return tuple(names)


def _mono(audio: bytes, channels: int) -> NDArray[np.int16]:
    if len(audio) % (_WIDTH * channels):
        raise InputError("expected whole 16-bit samples")
    samples = np.frombuffer(audio, "<i2").reshape(-1, channels)
    return samples[:, 0] if channels == 1 else samples.mean(axis=1).astype(np.int16)


def _written(event: Row) -> bytes:
    """A message as the protocol has it: a line, and the data behind it."""
    data = json.dumps(event.data, ensure_ascii=False).encode()
    head = {"type": event.type, "version": version("wyoming"), "data_length": len(data)}
    return json.dumps(head).encode() + b"\n" + data


def _info(state: State) -> Info:
    release = version("nim4asr")
    attribution = Attribution("nim4asr", "https://arxiv.org/abs/2604.18105")
    model = AsrModel(
        name=state.config.model_name,
        attribution=attribution,
        installed=True,
        description="NIM4-ASR",
        version=release,
        languages=["zh", "en"],
    )
    program = AsrProgram(
        name="nim4asr",
        attribution=attribution,
        installed=True,
        description="Speech recognition by NIM4-ASR",
        version=release,
        models=[model],
        supports_transcript_streaming=True,
    )
    return Info(asr=[program])
