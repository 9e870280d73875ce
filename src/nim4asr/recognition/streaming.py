"""Live speech: one stream, and how streams are recognized.

Each second of sound is encoded once, in chunks, and enters the language model's keys and values once. In the
mode ``refresh`` every chunk brings a new hypothesis: what stood before its last tokens is kept, those are
written again (NIM4-ASR's revision of June 2026, as ``docs/streaming.md`` shows). In the mode ``final``
nothing is written before the segment's end. In both, the end brings a pass over the whole segment, from the
same keys and values, with hints.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from nim4asr.audio.reading import Source, stream_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.engine import ComputeStats, Engine, StreamHandle
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.recognition.result import Transcript
from nim4asr.runtime.network import Model

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.recognition.frontend import Samples


class Stream:
    """One speaker's live speech.

    ``feed`` samples as they come and ``finish`` at the end: both return the events that became known. Any
    cutting of the samples gives the same events. For many speakers at a time, see ``Engine``.

    In asyncio one task feeds and another has ``async for event in stream.events()``. From the call of
    ``events`` on, ``feed``, ``commit`` and ``finish`` return no events and do not wait for any: recognition
    is done in a thread, while somebody iterates.
    """

    def __init__(
        self,
        model: Model,
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        channels: int = 1,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> None:
        self._engine = Engine(model)
        self._handle = self._engine.open(
            config, sample_rate=sample_rate, channels=channels, hints=hints, hotwords=hotwords
        )
        self._failed: Exception | None = None
        self._events: _Events | None = None
        # Whoever feeds may be in any thread.
        self._feeding = threading.Lock()

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that have been fed and not yet been heard by the encoder."""
        return self._handle.waiting_s

    @property
    def stats(self) -> ComputeStats:
        """What the network has been asked for so far."""
        return self._engine.stats

    def feed(self, samples: "Samples") -> list[Event]:
        """Listen to the next samples, (N,) or (N, channels) of any type, or bytes of 16-bit PCM.

        Raises ``InputError`` for NaN, another number of channels or half a sample, none of which is then
        heard, and after ``finish``.
        """
        self._raise_failure()
        with self._feeding:
            self._handle.feed(samples)
        return self._work()

    def events(self) -> AsyncIterator[Event]:
        """The events from now on, for ``async for``, each as soon as it is known, until the stream ends.

        Each event comes once: an iteration that was left may be begun again and goes on behind it. Raises
        what the stream failed by, behind the events before.
        """
        if self._events is None:
            self._events = _Events(self._engine, self._handle, self._fail)
        return self._events

    def hint(self, hints: Sequence[str] = (), hotwords: "HotwordIndex | None" = None) -> None:
        """Names that this segment and those after it may hold, at most 20, and hotwords to listen for from
        the next segment on, in place of the ones before.
        """
        self._raise_failure()
        self._handle.hint(hints, hotwords)

    def commit(self) -> list[Event]:
        """End the open segment here and now, without waiting for a pause."""
        self._raise_failure()
        with self._feeding:
            self._handle.commit()
        return self._work()

    def finish(self) -> list[Event]:
        """End the stream. Raises ``InputError`` if it has ended before."""
        self._raise_failure()
        with self._feeding:
            self._handle.finish()
        return self._work()

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _fail(self, error: Exception) -> None:
        self._failed = error

    def _work(self) -> list[Event]:
        if self._events is not None:
            self._events.wake()
            return []
        events: list[Event] = []
        while self._handle.busy:
            events += self._engine.step().get(self._handle, [])
        if events and isinstance(last := events[-1], Failed):
            self._failed = last.error
            # What became known before is told first.
            del events[-1]
            if not events:
                raise self._failed
        return events


class _Events(AsyncIterator[Event]):
    """The events of a stream, for tasks of asyncio. The engine works in a thread, a step at a time, for as
    long as somebody waits.
    """

    def __init__(self, engine: Engine, handle: StreamHandle, fail: Callable[[Exception], None]) -> None:
        self._engine, self._handle, self._fail = engine, handle, fail
        self._found: deque[Event] = deque()
        # A task that is canceled leaves its step to itself, and another may come before that has ended.
        self._working = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fed = asyncio.Event()

    def wake(self) -> None:
        """There is something to do; from any thread."""
        if self._loop is not None:
            # Of a loop that is closed nobody waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._fed.set)

    async def __anext__(self) -> Event:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._fed = loop, asyncio.Event()
        while not self._found:
            self._fed.clear()
            # In this order: the last tasks come before the end.
            finished = self._handle.finished
            if self._handle.busy:
                await asyncio.to_thread(self._step)
            elif self._found:
                break
            elif finished:
                raise StopAsyncIteration
            else:
                await self._fed.wait()
        event = self._found.popleft()
        if isinstance(event, Failed):
            raise event.error
        return event

    def _step(self) -> None:
        with self._working:
            if not self._handle.busy:
                return
            for event in self._engine.step().get(self._handle, []):
                if isinstance(event, Failed):
                    self._fail(event.error)
                self._found.append(event)


def transcribe_live(
    model: Model,
    source: Source,
    config: StreamingConfig | None = None,
    *,
    name: str = "",
    hotwords: "HotwordIndex | None" = None,
) -> Transcript:
    """What a live stream of the recording ``source`` would end up with.

    Raises ``InputError`` if it cannot be read.
    """
    began = time.perf_counter()
    stream = Stream(model, config, hotwords=hotwords)
    segments = []
    seconds = 0.0
    warnings: list[str] = []
    for block in stream_audio(source, warnings.append):
        events = stream.feed(block)
        seconds += len(block) / SAMPLE_RATE
        segments += [event.segment for event in events if isinstance(event, Final)]
    segments += [event.segment for event in stream.finish() if isinstance(event, Final)]
    elapsed = time.perf_counter() - began
    name = name or (str(source) if not isinstance(source, bytes) else "")
    return Transcript(name, seconds, tuple(segments), elapsed, tuple(warnings))
