"""One client's live stream, seen from asyncio: what every WebSocket protocol here is built on."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.events import Event, Failed, Final, SpeechEnded
from nim4asr.recognition.frontend import Samples
from nim4asr.serving.errors import ApiError
from nim4asr.serving.state import State
from nim4asr.serving.worker import LiveStream

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex

# Lists of events that may wait for a client who does not read; then it is let go.
_MOST_WAITING = 2000
_POLL_S = 0.02


class TooSlowError(Exception):
    """The client does not read what it is sent."""


class LiveConnection:
    """Opens streams one after another, feeds them, and gives their events in order, each with the generation
    of its stream.
    """

    def __init__(self, state: State, client: str) -> None:
        self._state, self._client = state, client
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, list[Event]]] = asyncio.Queue()
        self._stream: LiveStream | None = None
        self._generation = 0
        # Sound that the engine's thread has not taken yet, in seconds.
        self._unfed_s = 0.0
        self._rate = SAMPLE_RATE
        self._ended_at: float | None = None

    async def open(
        self,
        generation: int,
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        names: Sequence[str] = (),
        hotwords: str | None = None,
    ) -> None:
        """Open a stream. Raises ``InputError`` or ``ApiError`` if it cannot be."""
        hints, index = await self._chosen(names, hotwords)
        config = replace(config or StreamingConfig(), final_context=self._state.config.final_context)

        def on_events(events: list[Event]) -> None:
            self._measure(events)
            self._loop.call_soon_threadsafe(self._events.put_nowait, (generation, events))

        self._rate, self._generation = sample_rate, generation
        self._stream = await asyncio.wrap_future(
            self._state.worker.open(on_events, config, sample_rate=sample_rate, hints=hints, hotwords=index)
        )

    async def feed(self, samples: Samples, seconds: float) -> None:
        """Feed the stream. Waits while too much of its sound is still to be recognized, so that the client is
        not read from. Raises ``ApiError`` 429 when the client has used up its allowance.
        """
        stream = self._stream
        if stream is None:
            return
        self._state.access.admit(self._client)
        self._state.access.charge(self._client, seconds)
        self._state.metrics.audio_seconds.labels("live").inc(seconds)
        self._unfed_s += seconds
        generation = self._generation
        fed = asyncio.wrap_future(stream.feed(samples))
        fed.add_done_callback(lambda done: self._fed(done, seconds, generation))
        while self._unfed_s + stream.waiting_s > self._state.config.max_backlog_s and stream is self._stream:
            await asyncio.sleep(_POLL_S)

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
        hints, index = await self._chosen(names, hotwords)
        if self._stream is not None:
            self._stream.hint(hints, index)

    async def finish(self) -> None:
        """End the stream, and wait until all of its events can be had."""
        if self._stream is None:
            return
        done = asyncio.Event()

        def idle() -> None:
            self._loop.call_soon_threadsafe(done.set)

        await asyncio.wrap_future(self._stream.finish(idle))
        await done.wait()
        self._stream = None

    def drop(self) -> None:
        """Forget the stream."""
        if self._stream is not None:
            self._stream.drop()
        self._stream = None

    async def events(self) -> tuple[int, list[Event]]:
        """The next events and their stream's generation. Raises ``TooSlowError`` if too many wait."""
        if self._events.qsize() > _MOST_WAITING:
            raise TooSlowError
        return await self._events.get()

    def waiting_events(self) -> list[tuple[int, list[Event]]]:
        """All events that are there now."""
        found = []
        while not self._events.empty():
            found.append(self._events.get_nowait())
        return found

    async def _chosen(
        self, names: Sequence[str], hotwords: str | None
    ) -> "tuple[tuple[str, ...], HotwordIndex | None]":
        # Pronouncing takes time, and this loop must not wait.
        return await asyncio.to_thread(self._state.hotwords.chosen, hotwords, names)

    def _fed(self, done: "asyncio.Future[None]", seconds: float, generation: int) -> None:
        self._unfed_s -= seconds
        if not done.cancelled() and (error := done.exception()) is not None:
            failed = error if isinstance(error, Exception) else ApiError(500, "the stream failed")
            self._events.put_nowait((generation, [Failed(failed)]))

    def _measure(self, events: Sequence[Event]) -> None:
        now = time.monotonic()
        for event in events:
            if isinstance(event, SpeechEnded):
                self._ended_at = now
            elif isinstance(event, Final) and self._ended_at is not None:
                self._state.metrics.final_seconds.observe(now - self._ended_at)
                self._ended_at = None
