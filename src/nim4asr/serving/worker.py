"""The engine in a thread of its own: everything that touches the network happens there.

Others put work into a queue and get results by callbacks (live streams) or futures (segments of recordings).
A recording is read, cut and turned into features in a reader thread, so that the engine's steps wait for
nothing but the network. An error in one stream or recording ends that one alone.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nim4asr.audio.reading import stream_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import VoiceActivityConfig, cut_speech
from nim4asr.errors import InputError, OverloadedError
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.engine import Engine, StreamHandle
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.recognition.frontend import Samples
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.recording import as_tasks
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.runtime.network import Model

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex

Result = TypeVar("Result")
# How long the idle engine thread sleeps at most before it shows that it lives, in seconds.
_HEARTBEAT_S = 1.0


@dataclass(frozen=True)
class RecordingOptions:
    """What a request asks of a recording's recognition."""

    hints: tuple[str, ...] = ()
    hotwords: "HotwordIndex | None" = None
    voice_activity: VoiceActivityConfig | None = None


class LiveStream:
    """A live stream of the worker's engine, usable from any thread.

    ``on_events`` is called in the engine's thread with each list of new events.
    """

    def __init__(
        self, worker: "EngineWorker", handle: StreamHandle, on_events: Callable[[list[Event]], None]
    ) -> None:
        self._worker, self.handle, self.on_events = worker, handle, on_events
        self.on_idle: deque[Callable[[], None]] = deque()

    def feed(self, samples: Samples) -> "Future[None]":
        """Listen to the next samples; the future fails with ``InputError`` for what is not sound."""
        return self._worker.submit(lambda: self.handle.feed(samples))

    def commit(self, token: object = None) -> "Future[None]":
        """End the open segment; ``Marked(token)`` follows all that was fed before."""

        def commit() -> None:
            self.handle.commit()
            self.handle.mark(token)

        return self._worker.submit(commit)

    def finish(self, on_idle: Callable[[], None] | None = None) -> "Future[None]":
        """End the stream; ``on_idle`` is called in the engine's thread once its last event is out."""

        def finish() -> None:
            self.handle.finish()
            if on_idle is not None:
                self.on_idle.append(on_idle)

        return self._worker.submit(finish)

    def configure(self, voice_activity: VoiceActivityConfig) -> "Future[None]":
        """Judge by ``voice_activity`` where speech begins and ends, from now on."""
        return self._worker.submit(lambda: self.handle.configure(voice_activity))

    def hint(self, hints: Sequence[str], hotwords: "HotwordIndex | None" = None) -> "Future[None]":
        """Give other hints and hotwords, as ``StreamHandle.hint`` does."""
        return self._worker.submit(lambda: self.handle.hint(hints, hotwords))

    def drop(self) -> None:
        """Forget the stream at once."""
        self._worker.submit(lambda: self._worker.forget(self))

    @property
    def waiting_s(self) -> float:
        """Seconds of speech that have been fed and not yet been heard by the encoder."""
        return self.handle.waiting_s


class EngineWorker:
    """Runs one engine over ``model``; ``close`` ends its threads."""

    def __init__(
        self,
        model: Model,
        config: RecognitionConfig | None = None,
        *,
        max_streams: int = 48,
        max_recordings: int = 2,
        max_waiting: int = 8,
    ) -> None:
        self.model, self.config = model, config or RecognitionConfig()
        self.engine = Engine(model, most_streams=max_streams)
        self.max_waiting = max_waiting
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._live: dict[StreamHandle, LiveStream] = {}
        self._segments: dict[StreamHandle, Future[Segment]] = {}
        self._readers = ThreadPoolExecutor(max_recordings, "reader")
        self._max_recordings = max_recordings
        self._recordings = 0
        self._lock = threading.Lock()
        self._beat = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], Result]) -> "Future[Result]":
        """Call ``function`` in the engine's thread, between two steps."""
        future: Future[Result] = Future()

        def command() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        if self._closed.is_set():
            future.set_exception(OverloadedError("the server is shutting down"))
        else:
            self._commands.put(command)
        return future

    def open(
        self,
        on_events: Callable[[list[Event]], None],
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> "Future[LiveStream]":
        """A new live stream. The future fails as ``Engine.open`` does."""

        def opened() -> LiveStream:
            handle = self.engine.open(config, sample_rate=sample_rate, hints=hints, hotwords=hotwords)
            stream = self._live[handle] = LiveStream(self, handle, on_events)
            return stream

        return self.submit(opened)

    def forget(self, stream: LiveStream) -> None:
        """Drop a live stream; in the engine's thread."""
        self.engine.drop(stream.handle)
        self._live.pop(stream.handle, None)

    def transcribe(
        self,
        source: bytes | Path,
        options: RecordingOptions,
        max_duration_s: float = float("inf"),
        on_segment: Callable[[Segment], None] | None = None,
    ) -> "Future[Transcript]":
        """Recognize a recording, in a reader thread; ``on_segment`` is called there with each segment.

        A future that is cancelled gives the recording up. Raises ``OverloadedError`` if too many wait; the
        future fails with ``InputError`` if the recording cannot be read or is longer than allowed.
        """
        future: Future[Transcript] = Future()
        with self._lock:
            if self._recordings >= self._max_recordings + self.max_waiting:
                raise OverloadedError(
                    f"{self._recordings} recordings are under way or waiting; try again later"
                )
            self._recordings += 1

        def read() -> None:
            try:
                if future.cancelled():
                    return
                began = time.perf_counter()
                warnings: list[str] = []
                blocks = _Counted(stream_audio(source, warnings.append), max_duration_s)
                segments: list[Segment] = []
                for segment in self._recognized(blocks, options):
                    if future.cancelled():
                        return
                    segments.append(segment)
                    if on_segment is not None:
                        on_segment(segment)
                elapsed = time.perf_counter() - began
                result = Transcript("", blocks.seconds, tuple(segments), elapsed, tuple(warnings))
                _settle(future, result)
            except Exception as error:
                _settle(future, error)
            finally:
                with self._lock:
                    self._recordings -= 1

        self._readers.submit(read)
        return future

    @property
    def waiting_recordings(self) -> int:
        """Recordings that wait for a reader."""
        return max(0, self._recordings - self._max_recordings)

    @property
    def under_way(self) -> int:
        """Recordings that are read or wait."""
        return self._recordings

    @property
    def live_streams(self) -> int:
        """Live streams that are open."""
        return len(self._live)

    @property
    def beat_age_s(self) -> float:
        """How long ago the engine's thread last showed that it lives."""
        return time.monotonic() - self._beat

    @property
    def backlog_s(self) -> float:
        """Seconds of live speech that wait to be recognized, in all streams."""
        return sum(stream.waiting_s for stream in list(self._live.values()))

    def close(self) -> None:
        """End the threads; what is under way is given up."""
        self._closed.set()
        self._commands.put(None)
        self._thread.join()
        self._readers.shutdown(cancel_futures=True)

    def _recognized(self, blocks: "_Counted", options: RecordingOptions) -> Iterator[Segment]:
        """The segments of a recording in order, at most a batch of them in the engine at a time."""
        config = replace(self.config, voice_activity=options.voice_activity or self.config.voice_activity)
        hinting = HintPolicy(options.hotwords, options.hints, config.hints)
        under_way: deque[tuple[Future[Segment], StreamHandle, float]] = deque()
        try:
            for segment in cut_speech(blocks, config.voice_activity):
                seconds = segment.end - segment.start
                while (
                    under_way and sum(waiting for *_, waiting in under_way) + seconds > config.batch_seconds
                ):
                    yield under_way.popleft()[0].result()
                tasks = as_tasks(segment, self.model.frontend)
                found: Future[Segment] = Future()

                def opened(tasks: Any = tasks, found: "Future[Segment]" = found) -> StreamHandle:
                    handle = self.engine.open_segment(config, hinting, *tasks)
                    self._segments[handle] = found
                    return handle

                under_way.append((found, self.submit(opened).result(), seconds))
            while under_way:
                yield under_way.popleft()[0].result()
        finally:
            if under_way and not self._closed.is_set():
                self.submit(lambda: self._drop_segments([handle for _, handle, _ in under_way]))

    def _drop_segments(self, handles: Sequence[StreamHandle]) -> None:
        for handle in handles:
            if self._segments.pop(handle, None) is not None:
                self.engine.drop(handle)

    def _run(self) -> None:
        busy = False
        while True:
            self._beat = time.monotonic()
            # What waits now, and no more: whoever keeps feeding must not starve the step.
            for number in range(max(1, self._commands.qsize())):
                try:
                    command = self._commands.get(block=not busy and not number, timeout=_HEARTBEAT_S)
                except queue.Empty:
                    break
                if command is None:
                    self._abandon()
                    return
                command()
            self._step()
            busy = any(handle.busy for handle in (*self._live, *self._segments))

    def _step(self) -> None:
        for handle, events in self.engine.step().items():
            if handle in self._segments:
                self._segment_done(handle, events)
            elif handle in self._live:
                stream = self._live[handle]
                self._tell(stream, partial(stream.on_events, events))
        for handle, stream in list(self._live.items()):
            if not handle.busy:
                while stream.on_idle:
                    self._tell(stream, stream.on_idle.popleft())
                if handle.finished:
                    self._live.pop(handle, None)

    def _tell(self, stream: LiveStream, call: Callable[[], None]) -> None:
        """Call back; a listener that has gone takes its stream with it, and nothing else."""
        try:
            call()
        except Exception:
            stream.on_idle.clear()
            self.forget(stream)

    def _segment_done(self, handle: StreamHandle, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Final):
                self._segments.pop(handle).set_result(event.segment)
            elif isinstance(event, Failed):
                self._segments.pop(handle).set_exception(event.error)

    def _abandon(self) -> None:
        error = OverloadedError("the server is shutting down")
        for found in self._segments.values():
            found.set_exception(error)
        self._segments.clear()
        self._live.clear()
        # What came in while this thread was ending.
        while not self._commands.empty():
            if (command := self._commands.get()) is not None:
                command()
        for found in self._segments.values():
            found.set_exception(error)


def _settle(future: "Future[Transcript]", outcome: Transcript | Exception) -> None:
    # Whoever asked may give up at this moment.
    with suppress(InvalidStateError):
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class _Counted:
    """Blocks of 16 kHz samples, counted as they pass. Raises ``InputError`` past ``max_duration_s``."""

    def __init__(self, blocks: Iterator[Floats], max_duration_s: float) -> None:
        self._blocks, self._max_duration_s = blocks, max_duration_s
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE

    def __iter__(self) -> Iterator[Floats]:
        for block in self._blocks:
            self._samples += len(block)
            if self.seconds > self._max_duration_s:
                raise InputError(f"the recording is longer than the {self._max_duration_s:g} s allowed here")
            yield block
