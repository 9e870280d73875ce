"""The Wyoming protocol of Home Assistant's voice satellites, over TCP, by its own package.

``describe`` is answered with what the model is; ``transcribe``, ``audio-start``, ``audio-chunk`` ... and
``audio-stop`` with the transcript, and before it with the stable text as it grows. The protocol knows no
keys.
"""

import asyncio
from importlib.metadata import version

import numpy as np
from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event as Row
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler, AsyncTcpServer

from nim4asr.errors import InputError
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.serving.errors import ApiError
from nim4asr.serving.live import LiveConnection
from nim4asr.serving.state import State
from nim4asr.text.joining import addition

_WIDTH = 2


class WyomingHandler(AsyncEventHandler):
    """One connection: any number of recordings, one after another."""

    def __init__(self, state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self._state = state
        self._connection = LiveConnection(state, "wyoming")
        self._generation = 0
        self._names: tuple[str, ...] = ()
        self._start: AudioStart | None = None
        self._text = ""

    async def handle_event(self, event: Row) -> bool:
        """Answer a row; an error of its ends the connection."""
        try:
            await self._react(event)
        except (InputError, ApiError) as error:
            await self.write_event(Error(text=str(error), code="bad-request").event())
            return False
        return True

    async def disconnect(self) -> None:
        """Forget what the client was saying."""
        self._connection.drop()
        self._state.metrics.sessions.labels("wyoming").inc()

    async def _react(self, event: Row) -> None:
        if Describe.is_type(event.type):
            await self.write_event(_info(self._state).event())
        elif Transcribe.is_type(event.type):
            asked = Transcribe.from_event(event)
            self._names = tuple(asked.transcript_terms or ())
        elif AudioStart.is_type(event.type):
            await self._open(AudioStart.from_event(event))
        elif AudioChunk.is_type(event.type):
            await self._feed(AudioChunk.from_event(event))
        elif AudioStop.is_type(event.type):
            await self._finish()

    async def _open(self, start: AudioStart) -> None:
        self._state.refuse_if_draining()
        if start.width != _WIDTH or start.channels < 1:
            raise InputError("expected 16-bit samples")
        self._connection.drop()
        self._generation += 1
        self._start, self._text = start, ""
        await self._connection.open(self._generation, sample_rate=start.rate, names=self._names)
        await self.write_event(TranscriptStart().event())

    async def _feed(self, chunk: AudioChunk) -> None:
        start = self._start
        if start is None:
            await self._open(AudioStart(chunk.rate, chunk.width, chunk.channels))
            start = self._start
        assert start is not None
        if len(chunk.audio) % (_WIDTH * start.channels):
            raise InputError("expected whole 16-bit samples")
        samples = np.frombuffer(chunk.audio, "<i2").reshape(-1, start.channels).mean(axis=1).astype(np.int16)
        await self._connection.feed(samples, len(samples) / start.rate)
        await self._tell()

    async def _finish(self) -> None:
        if self._start is not None:
            await self._connection.finish()
        await self._tell()
        self._start = None
        await self.write_event(TranscriptStop().event())
        await self.write_event(Transcript(self._text).event())

    async def _tell(self) -> None:
        for generation, events in self._connection.waiting_events():
            for event in events:
                if generation == self._generation:
                    await self._told(event)

    async def _told(self, event: Event) -> None:
        if isinstance(event, Failed):
            raise event.error
        # Finals alone: what a satellite has said it cannot take back.
        if isinstance(event, Final) and event.segment.text:
            added = addition(self._text, event.segment.text)
            self._text += added
            await self.write_event(TranscriptChunk(added).event())


async def serve_wyoming(state: State, host: str, port: int) -> AsyncTcpServer:
    """Listen for Wyoming's clients until the server is stopped. Raises ``OSError`` if the port is taken."""
    server = AsyncTcpServer(host, port)
    await server.start(lambda reader, writer: WyomingHandler(state, reader, writer))
    return server


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
