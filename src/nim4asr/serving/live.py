"""One live session, seen from asyncio: what every protocol for live speech here is built on.

A protocol is a ``LiveProtocol``: how its client is read, how events are written for it, and how it ends. A
``LiveConnection`` runs it, and holds for all of them what a session may take:

    client ── Wire.receive ──> LiveProtocol.converse ── feed, commit ──> the listener's thread
    client <── Wire.send ── outbox <── LiveProtocol.rows <── events, in order

- Sound is fed in slices of half a second, and only while little of it waits; until then the client is not
  read from. Nor is it while it does not read what it is sent. So a session holds a bounded part of anything,
  and nothing is lost of a client that is slow.
- Rows leave in the order in which they came up. What follows the last event follows the last row.
- A session ends when its client says so or goes, when it has lasted too long or was silent for too long, or
  when the server stops. But for a client that has gone, what was said until then is recognized and told
  first.
- Errors are told in the protocol's own way (``LiveProtocol.error``); what they are, ``as_api_error`` says.
"""

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar, Generic, TypeVar

import numpy as np

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.events import Event, Failed, Final, SpeechEnded
from nim4asr.recognition.frontend import Samples
from nim4asr.serving.admission import Place
from nim4asr.serving.errors import ApiError, EndedError, as_api_error
from nim4asr.serving.formats import RATES
from nim4asr.serving.lifecycle import call_in_loop
from nim4asr.serving.listening import LiveStream
from nim4asr.serving.logs import SESSIONS
from nim4asr.serving.models import Lease
from nim4asr.serving.state import State

Message = TypeVar("Message")
# Sound goes to the listener's thread in pieces of so many seconds.
_SLICE_S = 0.5
# So much may lie in the outbox, in characters or bytes, before the session waits for its client.
_OUTBOX_BYTES = 256 << 10
# So many lists of events may wait to be written before no more sound is fed.
_MOST_EVENTS = 500
# A client has so long to take its last row, and the closing.
_CLOSE_S = 5.0


class ClientGone(Exception):  # noqa: N818  (nothing went wrong)
    """The client has ended the connection."""


class Wire(ABC, Generic[Message]):
    """The client's end of a session."""

    @abstractmethod
    async def receive(self) -> Message:
        """The client's next message. Raises ``ClientGone``."""

    @abstractmethod
    async def send(self, row: str | bytes) -> None:
        """Send ``row``; waits while the client does not read. Raises ``ClientGone``."""

    @abstractmethod
    async def close(self, error: ApiError | None) -> None:
        """Close the connection, after ``error`` if there is one."""

    async def gone(self) -> None:
        """Wait until the client is known to have gone, even while nothing is received; for ever, where that
        cannot be known.
        """
        await asyncio.Event().wait()


class LiveProtocol(ABC):
    """What a protocol for live speech is made of."""

    name: ClassVar[str]
    """For metrics and the log."""

    @abstractmethod
    async def converse(self) -> None:
        """Read the client until it has said all there is. An error that is raised ends the session."""

    @abstractmethod
    async def conclude(self) -> None:
        """End what is being said as the client itself would, and tell the rest of it."""

    def drop(self) -> None:
        """Give back what it holds; the session is over."""
        return

    @abstractmethod
    def rows(self, generation: int, events: Sequence[Event]) -> Iterable[str | bytes]:
        """What the client is told of ``events``. Raises the error of one that failed, if that ends the
        session.
        """

    @abstractmethod
    def error(self, error: ApiError) -> str | bytes:
        """How the client is told of ``error``, which ends the session."""


class LiveConnection(Generic[Message]):
    """One session of the client that has ``place``: opens streams one after another, feeds them, and writes
    their events in order, each with the generation of its stream.
    """

    def __init__(self, state: State, place: Place, wire: Wire[Message]) -> None:
        self._state, self._place, self._wire = state, place, wire
        self._config = state.config
        self._loop = asyncio.get_running_loop()
        self._outbox = _Outbox()
        # Events of streams by their generation; or a place after all of a stream's events.
        self._events: asyncio.Queue[tuple[int, list[Event]] | asyncio.Event] = asyncio.Queue()
        # Set when a reason to wait with more sound may have gone.
        self._room = asyncio.Event()
        self._stream: LiveStream | None = None
        self._lease: Lease | None = None
        self._generation, self._rate = 0, SAMPLE_RATE
        self._seconds = 0.0
        # Lists of events that have been told.
        self._heard = 0
        self._speech_ended_at: float | None = None

    async def run(self, protocol: LiveProtocol) -> None:
        """Serve the session to its end; raises nothing but ``CancelledError``."""
        began, outcome = time.monotonic(), "done"
        writing = asyncio.create_task(self._write())
        hearing = asyncio.create_task(self._hear(protocol))
        try:
            error = await self._served(protocol, writing, hearing)
            outcome = (error.code or str(error.status)) if error else "done"
            await self._closed(protocol, error, writing)
        except ClientGone:
            outcome = "gone"
        finally:
            for task in (writing, hearing):
                task.cancel()
            protocol.drop()
            self.drop()
            self._place.release()
            client = self._place.client.name
            self._state.metrics.sessions.labels(protocol.name, outcome, client).inc()
            row = {
                "protocol": protocol.name,
                "client": client,
                "outcome": outcome,
                "audio_seconds": round(self._seconds, 2),
                "seconds": round(time.monotonic() - began, 2),
            }
            SESSIONS.info("%s session: %s", protocol.name, outcome, extra={"row": row})
            await asyncio.gather(writing, hearing, return_exceptions=True)

    async def receive(self) -> Message:
        """The client's next message, once it has taken what it was sent but for a bounded rest. Raises
        ``ClientGone``, and ``EndedError`` if none comes for too long.
        """
        await self._outbox.room()
        try:
            async with asyncio.timeout(self._config.max_idle_s):
                return await self._wire.receive()
        except TimeoutError:
            raise EndedError(408, "nothing has come for too long", "session_idle") from None

    def post(self, row: str | bytes) -> None:
        """Put a row behind those that are to be sent."""
        self._outbox.put(row)

    async def open(
        self,
        generation: int,
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        names: Sequence[str] = (),
        hotwords: str | None = None,
        model: str | None = None,
    ) -> None:
        """Open a stream of ``model`` (default: the server's first), in the place of the one before. Raises
        ``InputError`` or ``ApiError`` if it cannot be.
        """
        if type(sample_rate) is not int or sample_rate not in RATES:
            raise ApiError(400, f"expected a sample rate of {RATES[0]} to {RATES[-1]} Hz", "invalid_value")
        self.drop()
        hints, index = await self._state.chosen(hotwords, names)
        config = replace(config or StreamingConfig(), final_context=self._config.final_context)

        def on_events(events: list[Event]) -> None:
            call_in_loop(self._loop, self._events.put_nowait, (generation, events))

        self._lease = await self._state.lease(model)
        opening = self._lease.worker.open(
            on_events, config, sample_rate=sample_rate, hints=hints, hotwords=index
        )
        try:
            self._stream = await asyncio.wrap_future(opening)
            self._generation, self._rate = generation, sample_rate
        except BaseException:
            # It may be there all the same, and then nobody would drop it.
            opening.add_done_callback(_drop_opened)
            raise

    async def feed(self, samples: Samples) -> None:
        """Feed mono samples (N,), or bytes of 16-bit PCM, to the stream. Waits while too much of its sound is
        still to be recognized, or the client does not read. Raises ``EndedError`` 429 when the client has
        used up its allowance: what it has said before is told.
        """
        stream = self._stream
        if stream is None:
            return
        if isinstance(samples, bytes | bytearray | memoryview):
            samples = np.frombuffer(samples, "<i2")
        seconds = len(samples) / self._rate
        access, client = self._state.access, self._place.client
        try:
            access.admit(client)
        except ApiError as error:
            raise EndedError(error.status, error.message, error.code, headers=error.headers) from None
        access.charge(client, seconds)
        self._seconds += seconds
        self._state.metrics.audio_seconds.labels("live", client.name).inc(seconds)
        size = max(1, int(_SLICE_S * self._rate))
        pieces = deque(samples[start : start + size] for start in range(0, len(samples), size))
        try:
            while pieces:
                await self._wait_for_room(stream)
                if stream is not self._stream:
                    return
                piece = pieces.popleft()
                stream.feed(piece, len(piece) / self._rate)
        except asyncio.CancelledError:
            # The session ends. What has come was said, and is told first; of a client that has gone it is
            # forgotten with the stream.
            for piece in pieces if stream is self._stream else ():
                stream.feed(piece, len(piece) / self._rate)
            raise

    def commit(self, token: object = None) -> None:
        """End the open segment; ``Marked(token)`` follows."""
        if self._stream is not None:
            self._stream.commit(token)

    def configure(self, voice_activity: VoiceActivityConfig) -> None:
        """Judge by ``voice_activity`` from now on."""
        if self._stream is not None:
            self._stream.configure(voice_activity)

    async def hint(self, names: Sequence[str], hotwords: str | None) -> None:
        """Give other names. Raises ``ApiError`` if there is no such list."""
        hints, index = await self._state.chosen(hotwords, names)
        if self._stream is not None:
            self._stream.hint(hints, index)

    async def finish(self) -> None:
        """End the stream, and wait until all of its events are rows."""
        stream = self._stream
        if stream is None:
            return
        told = asyncio.Event()

        def on_idle() -> None:
            call_in_loop(self._loop, self._events.put_nowait, told)

        stream.finish(on_idle)
        await told.wait()
        if self._stream is stream:
            self._stream = None
            self._give_back()

    def drop(self) -> None:
        """Forget the stream."""
        if self._stream is not None:
            self._stream.drop()
        self._stream = None
        self._give_back()
        self._room.set()

    def _give_back(self) -> None:
        if self._lease is not None:
            self._lease.release()
        self._lease = None

    async def _served(
        self, protocol: LiveProtocol, writing: "asyncio.Task[None]", hearing: "asyncio.Task[None]"
    ) -> ApiError | None:
        """Serve the client until the session ends; the error to tell it of. Raises ``ClientGone``."""
        conversing = asyncio.create_task(self._converse(protocol))
        gone = asyncio.create_task(self._wire.gone())
        try:
            await asyncio.wait({conversing, writing, hearing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientGone
        finally:
            for task in (conversing, gone):
                task.cancel()
            await asyncio.gather(conversing, gone, return_exceptions=True)
        told = _error_of(writing, hearing, conversing)
        if isinstance(told, EndedError):
            return await self._concluded(protocol, told, writing, hearing)
        return told

    async def _converse(self, protocol: LiveProtocol) -> None:
        """The conversation, for as long as it may last."""
        limit = asyncio.timeout(self._config.max_session_s)
        try:
            async with self._state.lifecycle.until_closing(), limit:
                await protocol.converse()
        except TimeoutError:
            if not limit.expired():
                raise
            raise EndedError(
                408, "the session has lasted as long as this server allows", "session_expired"
            ) from None

    async def _concluded(
        self,
        protocol: LiveProtocol,
        ended: EndedError,
        writing: "asyncio.Task[None]",
        hearing: "asyncio.Task[None]",
    ) -> ApiError:
        """Tell what was said until now; the error to end with."""
        concluding = asyncio.create_task(protocol.conclude())
        try:
            # On a busy machine it may take long, and is not lost for that.
            left, done = math.inf, set[asyncio.Task[None]]()
            while not done and (now := self._left) < left:
                left = now
                done, _ = await asyncio.wait(
                    {concluding, writing, hearing},
                    timeout=self._config.finish_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            concluding.cancel()
            await asyncio.gather(concluding, return_exceptions=True)
        return _error_of(writing, hearing, concluding) or ended

    @property
    def _left(self) -> float:
        """How much there is to be done of what was said: seconds of sound, and less what has been told."""
        waiting = 0.0 if self._stream is None else self._stream.waiting_s
        return waiting - self._heard

    async def _closed(
        self, protocol: LiveProtocol, error: ApiError | None, writing: "asyncio.Task[None]"
    ) -> None:
        """Send what is left, then the error, and close."""
        if error is not None:
            self.post(protocol.error(error))
        emptied, told = asyncio.create_task(self._outbox.emptied()), writing.done()
        try:
            await asyncio.wait(
                {emptied, writing}, timeout=self._config.max_stall_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            emptied.cancel()
        with suppress(ClientGone, TimeoutError):
            # The session has its end already; what has gone wrong since is the log's.
            _error_of(emptied, *(() if told else (writing,)))
            async with asyncio.timeout(_CLOSE_S):
                await self._wire.close(error)

    async def _hear(self, protocol: LiveProtocol) -> None:
        """Make rows of the events, in order; the only one who takes them."""
        while True:
            item = await self._events.get()
            if isinstance(item, asyncio.Event):
                item.set()
                continue
            generation, events = item
            self._heard += 1
            self._measure(generation, events)
            for row in protocol.rows(generation, events):
                self.post(row)
            await self._outbox.room()
            self._room.set()

    async def _write(self) -> None:
        """Send the rows, in order; raises ``ApiError`` once the client has not read for too long."""
        while True:
            row = await self._outbox.first()
            try:
                async with asyncio.timeout(self._config.max_stall_s):
                    await self._wire.send(row)
            except TimeoutError:
                raise ApiError(408, "the client does not read", "too_far_behind") from None
            self._outbox.sent()
            self._room.set()

    async def _wait_for_room(self, stream: LiveStream) -> None:
        limit = self._config.max_backlog_s
        while stream is self._stream:
            if stream.waiting_s < limit and self._events.qsize() < _MOST_EVENTS and not self._outbox.full:
                return
            self._room.clear()
            if stream.waiting_s >= limit:
                stream.call_below(limit, self._tell_room)
            await self._room.wait()

    def _tell_room(self) -> None:
        """There is room in the stream; in the engine's thread."""
        call_in_loop(self._loop, self._room.set)

    def _measure(self, generation: int, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            if isinstance(event, SpeechEnded):
                self._speech_ended_at = now
            elif isinstance(event, Final) and self._speech_ended_at is not None:
                self._state.metrics.final_seconds.observe(now - self._speech_ended_at)
                self._speech_ended_at = None
            elif isinstance(event, Failed) and generation == self._generation:
                # The stream is gone; nobody is to wait for room in it.
                self.drop()


class _Outbox:
    """Rows on their way to the client, first in, first out."""

    def __init__(self) -> None:
        self._rows: deque[str | bytes] = deque()
        self._size = 0
        self._filled, self._freed = asyncio.Event(), asyncio.Event()

    @property
    def full(self) -> bool:
        return self._size > _OUTBOX_BYTES

    def put(self, row: str | bytes) -> None:
        self._rows.append(row)
        self._size += len(row)
        self._filled.set()

    async def first(self) -> str | bytes:
        while not self._rows:
            self._filled.clear()
            await self._filled.wait()
        return self._rows[0]

    def sent(self) -> None:
        self._size -= len(self._rows.popleft())
        self._freed.set()

    async def room(self) -> None:
        while self.full:
            self._freed.clear()
            await self._freed.wait()

    async def emptied(self) -> None:
        while self._rows:
            self._freed.clear()
            await self._freed.wait()


def _error_of(*tasks: "asyncio.Task[None]") -> ApiError | None:
    """What one of ``tasks`` failed by, the first of them; all that is the server's is logged. Raises
    ``ClientGone`` if it was that: who has gone cannot be told of anything that came of it.
    """
    told: ApiError | None = None
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, ClientGone):
                raise error
            told = told or as_api_error(error)
    return told


def _drop_opened(opening: "Future[LiveStream]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().drop()
