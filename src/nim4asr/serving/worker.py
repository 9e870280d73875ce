"""The engine in a thread of its own: everything that touches the network happens there.

Others put work into its queue and get results by callbacks (live streams) or futures (segments of
recordings). Live sound is made tasks by the listener's thread (``nim4asr.serving.listening``), and a
recording is read, cut and turned into features in a reader's, so that the engine's steps wait for nothing but
the network. An error in one stream or recording ends that one alone.

Between two steps the thread takes what waits then, and no more, none of which takes long: what cannot be kept
up with is late, in order, and caught up with later.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nim4asr.audio.level import no_speech
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.errors import OverloadedError
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.engine import Engine, SegmentTasks, StreamHandle
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.recording import in_batches
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.runtime.network import Model
from nim4asr.serving.listening import Heard, Listener, LiveStream
from nim4asr.serving.logs import SERVER
from nim4asr.serving.reading import GivenUp, Reading, RecordingLimits, RecordingOptions, readings

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex

Result = TypeVar("Result")
# How long the idle engine thread sleeps at most before it shows that it lives, in seconds.
_HEARTBEAT_S = 1.0


class EngineWorker:
    """Runs one engine over ``model``; ``close`` ends its threads."""

    def __init__(
        self,
        model: Model,
        config: RecognitionConfig | None = None,
        *,
        max_recordings: int = 2,
    ) -> None:
        self.model, self.config = model, config or RecognitionConfig()
        self.engine = Engine(model)
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._live: dict[StreamHandle, LiveStream] = {}
        self._dropped = False
        self._segments: dict[StreamHandle, Future[Segment]] = {}
        self._readers = ThreadPoolExecutor(max_recordings, "reader")
        self._max_recordings = max_recordings
        # Guards what follows it; notified when some work has ended.
        self._changed = threading.Condition()
        self._recordings = 0
        self._closed = False
        self._idle = True
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()
        self.listener = Listener(lambda heard: self.post(partial(self._take_in, heard)))

    def submit(self, function: Callable[[], Result]) -> "Future[Result]":
        """Call ``function`` in the engine's thread, between two steps. The future fails with
        ``OverloadedError`` once the worker is closed.
        """
        future: Future[Result] = Future()

        def command() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        try:
            self.post(command)
        except OverloadedError as error:
            future.set_exception(error)
        return future

    def post(self, work: Callable[[], None]) -> None:
        """Have the engine's thread call ``work``. Raises ``OverloadedError`` once the worker is closed."""
        # One lock over the check and the queue: what is in it when the thread ends is worked off there.
        with self._changed:
            if self._closed:
                raise _closing()
            self._idle = False
            self._commands.put(work)

    def poke(self) -> None:
        """Have the engine's thread look around."""
        with suppress(OverloadedError):
            self.post(lambda: None)

    def open(
        self,
        on_events: Callable[[list[Event]], None],
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> "Future[LiveStream]":
        """A new live stream. The future fails as ``Engine.open`` does, and may be cancelled."""

        def opened() -> LiveStream:
            handle = self.engine.open(config, sample_rate=sample_rate, hints=hints, hotwords=hotwords)
            assert handle.frontend is not None
            stream = LiveStream(self, handle, handle.frontend, on_events)
            self._live[handle] = stream
            return stream

        return self.submit(opened)

    def forget(self, stream: LiveStream) -> None:
        """Drop a live stream; in the engine's thread."""
        self.engine.drop(stream.handle)
        self._dropped = True
        stream.work.clear()
        self._live.pop(stream.handle, None)
        stream.call_idle()

    def transcribe(
        self,
        source: bytes | Path,
        options: RecordingOptions,
        limits: RecordingLimits | None = None,
        on_segment: Callable[[Segment], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> "Future[Transcript]":
        """Recognize a recording, in a reader thread; ``on_segment`` is called there with each segment, and
        ``on_end`` when ``source`` is no longer needed.

        A future that is cancelled gives the recording up, within a block of sound. The future fails with
        ``InputError`` if the recording cannot be read or is beyond ``limits``, with ``OverloadedError`` when
        the worker closes.
        """
        future: Future[Transcript] = Future()

        def read() -> None:
            try:
                if not future.cancelled():
                    self._read(future, source, options, limits or RecordingLimits(), on_segment)
            except (GivenUp, CancelledError):
                pass
            except Exception as error:
                _settle(future, error)

        def ended(task: "Future[None]") -> None:
            # Cancelled: it waited for a reader when the worker closed.
            if task.cancelled():
                _settle(future, _closing())
            if on_end is not None:
                on_end()
            with self._changed:
                self._recordings -= 1
                self._changed.notify_all()

        with self._changed:
            if self._closed:
                raise _closing()
            # It starts a thread, for which there may be no room.
            task = self._readers.submit(read)
            self._recordings += 1
        task.add_done_callback(ended)
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
        """How long ago the engine's thread last showed that it lives, or the listener's."""
        return max(time.monotonic() - self._beat, self.listener.beat_age_s)

    @property
    def backlog_s(self) -> float:
        """Seconds of live sound that wait to be recognized, in all streams."""
        return sum(stream.waiting_s for stream in list(self._live.values()))

    @property
    def late_s(self) -> float:
        """How far the recognition of live speech is behind its own pace, of the stream that is most."""
        now = time.monotonic()
        return max((stream.late_s(now) for stream in list(self._live.values())), default=0.0)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until nothing is open, under way or waiting, and no slot is in use; whether that came about
        within ``timeout`` seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._idle and not self._recordings, timeout)

    def close(self) -> None:
        """End the threads; what is under way is given up."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._commands.put(None)
        self._thread.join()
        self.listener.close()
        self._readers.shutdown(cancel_futures=True)

    def _read(
        self,
        future: "Future[Transcript]",
        source: bytes | Path,
        options: RecordingOptions,
        limits: RecordingLimits,
        on_segment: Callable[[Segment], None] | None,
    ) -> None:
        """Recognize a recording to its end; in a reader thread. Raises ``GivenUp`` or ``CancelledError`` if
        nobody waits for it.
        """
        began = time.perf_counter()
        config = replace(self.config, voice_activity=options.voice_activity or self.config.voice_activity)
        parts = readings(source, options, limits, config.voice_activity, future.cancelled)
        segments: list[Segment] = []
        for reading in parts:
            for segment in self._recognized(reading, config, options, future):
                if future.cancelled():
                    return
                if reading.channel is not None:
                    segment = replace(segment, channel=reading.channel)
                segments.append(segment)
                if on_segment is not None:
                    on_segment(segment)
        # In order already, but for channels.
        segments.sort(key=lambda segment: segment.start)
        silence = ""
        if not any(segment.text for segment in segments):
            advice = [] if segments else ["a lower threshold of voice activity"]
            silence = no_speech(max(reading.level for reading in parts), advice)
        elapsed = time.perf_counter() - began
        seconds, warnings = max(reading.seconds for reading in parts), tuple(parts[0].warnings)
        _settle(future, Transcript("", seconds, tuple(segments), elapsed, warnings, silence))

    def _recognized(
        self,
        reading: Reading,
        config: RecognitionConfig,
        options: RecordingOptions,
        wanted: "Future[Transcript]",
    ) -> Iterator[Segment]:
        """The segments of a recording, in order. Raises ``CancelledError`` once ``wanted`` is cancelled."""
        hinting = HintPolicy(options.hotwords, options.hints, config.hints)
        handles: list[StreamHandle] = []

        def begin(batch: Sequence[SegmentTasks]) -> list[Future[Segment]]:
            found: list[Future[Segment]] = [Future() for _ in batch]
            tasks = list(batch)

            def opened() -> None:
                new = self.engine.open_batch(config, hinting, tasks)
                self._segments.update(zip(new, found, strict=True))
                handles.extend(new)

            self.submit(opened).result()
            for one in found:
                wanted.add_done_callback(partial(_cancel, one))
            return found

        try:
            yield from in_batches(reading, self.model.frontend, config.batch_seconds, begin)
        finally:
            with suppress(OverloadedError):
                self.post(lambda: self._drop_segments(handles))

    def _drop_segments(self, handles: Sequence[StreamHandle]) -> None:
        for handle in handles:
            if self._segments.pop(handle, None) is not None:
                self.engine.drop(handle)

    def _run(self) -> None:
        busy = False
        while True:
            self._beat = time.monotonic()
            try:
                if not self._work_off(block=not busy):
                    break
                self._dropped = False
                self._step()
            except Exception as error:
                self._begin_anew(error)
            busy = any(handle.busy for handle in (*self._live, *self._segments))
            # A step frees the slots of what was dropped before it.
            busy |= self._dropped
            if not busy:
                self._rest()
        self._abandon()

    def _work_off(self, block: bool) -> bool:
        """Call what waits now, and no more: whoever keeps asking must not starve the step. False: the end."""
        for number in range(max(1, self._commands.qsize())):
            try:
                command = self._commands.get(block=block and not number, timeout=_HEARTBEAT_S)
            except queue.Empty:
                break
            if command is None:
                return False
            command()
        return True

    def _take_in(self, round_: Sequence[Heard]) -> None:
        """Give the engine what a round of the listener has found."""
        for heard in round_:
            stream, handle = heard.stream, heard.stream.handle
            if handle not in self._live:
                # It has failed or was dropped meanwhile.
                stream.call_idle()
                continue
            try:
                if heard.error is not None:
                    raise heard.error
                if heard.hint is not None:
                    handle.hint(*heard.hint)
                if heard.tasks or heard.last:
                    handle.add(heard.tasks, heard.last)
            except Exception as error:
                self._fail(stream, error)
            stream.heard_s += heard.seconds

    def _step(self) -> None:
        for handle, events in self.engine.step().items():
            if handle in self._segments:
                self._segment_done(handle, events)
            elif handle in self._live:
                stream = self._live[handle]
                self._tell(stream, partial(stream.on_events, events))
                if any(isinstance(event, Failed) for event in events):
                    self.forget(stream)
        for handle, stream in list(self._live.items()):
            self._tell(stream, stream.tell_room)
            if handle.finished and not handle.busy:
                self._live.pop(handle, None)
                stream.call_idle()

    def _begin_anew(self, error: Exception) -> None:
        """The engine itself failed, which keeps an error of one stream to that stream: all that it had is
        given up, and others are served by a new one.
        """
        SERVER.error("the engine failed; what it had is given up", exc_info=error)
        self.engine = Engine(self.model)
        self._give_up(error)

    def _rest(self) -> None:
        """Say so if nothing is left to do."""
        with self._changed:
            self._idle = (
                self._commands.empty()
                and not self._live
                and not self._segments
                and not self.engine.slots_in_use
            )
            if self._idle:
                self._changed.notify_all()

    def _tell(self, stream: LiveStream, call: Callable[[], None]) -> None:
        """Call back; a listener that fails takes its stream with it, and nothing else."""
        try:
            call()
        except Exception:
            SERVER.exception("the listener of a live stream failed")
            self.forget(stream)

    def _fail(self, stream: LiveStream, error: Exception) -> None:
        """End a live stream, and say why."""
        self._tell(stream, partial(stream.on_events, [Failed(error)]))
        self.forget(stream)

    def _segment_done(self, handle: StreamHandle, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Final):
                _settle(self._segments.pop(handle), event.segment)
            elif isinstance(event, Failed):
                _settle(self._segments.pop(handle), event.error)

    def _abandon(self) -> None:
        """Give up everything; nothing new comes in any more."""
        while not self._commands.empty():
            command = self._commands.get()
            try:
                if command is not None:
                    command()
            except Exception:
                SERVER.exception("something failed while the engine ended")
        self._give_up(_closing())
        with self._changed:
            self._idle = True
            self._changed.notify_all()

    def _give_up(self, error: Exception) -> None:
        """Fail everything that is open."""
        for found in self._segments.values():
            _settle(found, error)
        self._segments.clear()
        for stream in list(self._live.values()):
            self._fail(stream, error)


def _cancel(found: "Future[Segment]", wanted: object) -> None:
    """Nobody waits for the segment any more, or it is there."""
    found.cancel()


def _closing() -> OverloadedError:
    return OverloadedError("the server is shutting down")


def _settle(future: "Future[Result]", outcome: Result | Exception) -> None:
    # Whoever asked may give up at this moment.
    with suppress(InvalidStateError):
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
