"""The engine in a thread of its own: everything that touches the network happens there.

Others put work into queues and get results by callbacks (live streams) or futures (segments of recordings). A
recording is read, cut and turned into features in a reader thread, so that the engine's steps wait for
nothing but the network. An error in one stream or recording ends that one alone.

Between two steps the thread works off what was asked of it and then listens to live sound, of every stream
in turn, at most as long as the step before took: so neither starves the other, and what cannot be kept up
with is late, in order, and caught up with later.
"""

import io
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, ThreadPoolExecutor
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
from nim4asr.serving.logs import SERVER

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex

Result = TypeVar("Result")
# How long the idle engine thread sleeps at most before it shows that it lives, in seconds.
_HEARTBEAT_S = 1.0
# The thread may listen for so long between two steps, in seconds, and as long as the step before took.
_LISTEN_S = 0.05
_OPENERS = 2


@dataclass(frozen=True)
class RecordingOptions:
    """What a request asks of a recording's recognition."""

    hints: tuple[str, ...] = ()
    hotwords: "HotwordIndex | None" = None
    voice_activity: VoiceActivityConfig | None = None


@dataclass(frozen=True)
class RecordingLimits:
    """What of a recording is worked on; ``InputError`` beyond."""

    max_duration_s: float = float("inf")
    max_silence_s: float = float("inf")
    """So long nobody may speak."""


class LiveStream:
    """A live stream of the worker's engine; one thread feeds it.

    ``on_events`` is called in the engine's thread with each list of new events. What goes wrong with the
    stream is a ``Failed`` among them, after which nothing comes.
    """

    def __init__(
        self, worker: "EngineWorker", handle: StreamHandle, on_events: Callable[[list[Event]], None]
    ) -> None:
        self._worker, self.handle, self.on_events = worker, handle, on_events
        self.on_idle: deque[Callable[[], None]] = deque()
        # What is to be done in the engine's thread, and how many seconds of sound each brings.
        self.work: deque[tuple[Callable[[], None], float]] = deque()
        # Written by one thread each: the feeding one, and the engine's.
        self._fed_s = self.heard_s = 0.0
        # When all that was fed would have been said, had it come as fast as people speak.
        self._due = time.monotonic()
        self._below: tuple[float, Callable[[], None]] | None = None

    def feed(self, samples: Samples, seconds: float) -> None:
        """Listen to the next samples, which last ``seconds``; a second of them at most, for all streams wait
        while they are listened to.
        """
        self._fed_s += seconds
        self._due = max(self._due, time.monotonic()) + seconds
        self._do(lambda: self.handle.feed(samples), seconds)

    def commit(self, token: object = None) -> None:
        """End the open segment; ``Marked(token)`` follows all that was fed before."""

        def commit() -> None:
            self.handle.commit()
            self.handle.mark(token)

        self._do(commit)

    def finish(self, on_idle: Callable[[], None] | None = None) -> None:
        """End the stream; ``on_idle`` is called in the engine's thread once its last event is out."""
        if on_idle is not None:
            self.on_idle.append(on_idle)
        self._do(self.handle.finish)

    def configure(self, voice_activity: VoiceActivityConfig) -> None:
        """Judge by ``voice_activity`` where speech begins and ends, from now on."""
        self._do(lambda: self.handle.configure(voice_activity))

    def hint(self, hints: Sequence[str], hotwords: "HotwordIndex | None" = None) -> None:
        """Give other hints and hotwords, as ``StreamHandle.hint`` does."""
        self._do(lambda: self.handle.hint(hints, hotwords))

    def drop(self) -> None:
        """Forget the stream at once, and what it was still to hear."""
        self.work.clear()
        with suppress(OverloadedError):
            self._worker.post(lambda: self._worker.forget(self))

    def call_below(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back, once, when less than ``seconds`` of sound wait; in the engine's thread."""
        self._below = (seconds, callback)
        self._worker.poke()

    def tell_room(self) -> None:
        """Call back if there is room now; in the engine's thread."""
        below = self._below
        if below is not None and self.waiting_s < below[0]:
            self._below = None
            below[1]()

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that have been fed and not yet been recognized."""
        return max(0.0, self._fed_s - self.heard_s) + self.handle.waiting_s

    def late_s(self, now: float) -> float:
        """How far its recognition is behind, in seconds: since when the next of its sound is over, had it
        come as fast as people speak. A file that is sent at once is not late.
        """
        waiting = self.waiting_s
        return max(0.0, now - (self._due - waiting)) if waiting else 0.0

    def call_idle(self) -> None:
        """Say that nothing more comes of it."""
        while self.on_idle:
            try:
                self.on_idle.popleft()()
            except Exception:
                SERVER.exception("the listener of a live stream failed")

    def _do(self, work: Callable[[], None], seconds: float = 0.0) -> None:
        self.work.append((work, seconds))
        try:
            self._worker.post(self)
        except OverloadedError:
            self.call_idle()


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
        self._commands: queue.SimpleQueue[Callable[[], None] | LiveStream | None] = queue.SimpleQueue()
        self._live: dict[StreamHandle, LiveStream] = {}
        # Streams with work, each once: the next to be listened to at the left.
        self._listening: deque[LiveStream] = deque()
        self._dropped = False
        self._segments: dict[StreamHandle, Future[Segment]] = {}
        self._readers = ThreadPoolExecutor(max_recordings, "reader")
        self._openers = ThreadPoolExecutor(_OPENERS, "opener")
        self._max_recordings = max_recordings
        # Guards what follows it; notified when some work has ended.
        self._changed = threading.Condition()
        self._recordings = self._opening = 0
        self._closed = False
        self._idle = True
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

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

    def post(self, work: "Callable[[], None] | LiveStream") -> None:
        """Have the engine's thread call ``work``, or do the work of that stream. Raises ``OverloadedError``
        once the worker is closed.
        """
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
            # Not in the engine's thread: the voice detector that each stream loads takes as long as many
            # steps.
            handle = self.engine.open(config, sample_rate=sample_rate, hints=hints, hotwords=hotwords)
            stream = LiveStream(self, handle, on_events)
            self.submit(lambda: self._live.update({handle: stream})).result()
            return stream

        def ended(opening: "Future[LiveStream]") -> None:
            with self._changed:
                self._opening -= 1
                self._changed.notify_all()

        with self._changed:
            if self._closed:
                raise _closing()
            self._opening += 1
            opening = self._openers.submit(opened)
        opening.add_done_callback(ended)
        return opening

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
            except (_GivenUp, CancelledError):
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
            self._recordings += 1
            task = self._readers.submit(read)
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
        """How long ago the engine's thread last showed that it lives."""
        return time.monotonic() - self._beat

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
            return self._changed.wait_for(
                lambda: self._idle and not self._recordings and not self._opening, timeout
            )

    def close(self) -> None:
        """End the threads; what is under way is given up."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._commands.put(None)
        self._thread.join()
        self._openers.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)

    def _read(
        self,
        future: "Future[Transcript]",
        source: bytes | Path,
        options: RecordingOptions,
        limits: RecordingLimits,
        on_segment: Callable[[Segment], None] | None,
    ) -> None:
        """Recognize a recording to its end; in a reader thread. Raises ``_GivenUp`` or ``CancelledError`` if
        nobody waits for it.
        """
        began = time.perf_counter()
        warnings: list[str] = []
        blocks = _Counted(source, stream_audio(source, warnings.append), limits, future.cancelled)
        segments: list[Segment] = []
        for segment in self._recognized(blocks, options, future):
            if future.cancelled():
                return
            segments.append(segment)
            if on_segment is not None:
                on_segment(segment)
        elapsed = time.perf_counter() - began
        _settle(future, Transcript("", blocks.seconds, tuple(segments), elapsed, tuple(warnings)))

    def _recognized(
        self, blocks: "_Counted", options: RecordingOptions, wanted: "Future[Transcript]"
    ) -> Iterator[Segment]:
        """The segments of a recording in order, at most a batch of them in the engine at a time. Raises
        ``CancelledError`` once ``wanted`` is cancelled.
        """
        config = replace(self.config, voice_activity=options.voice_activity or self.config.voice_activity)
        hinting = HintPolicy(options.hotwords, options.hints, config.hints)
        under_way: deque[tuple[Future[Segment], StreamHandle, float]] = deque()
        try:
            for segment in cut_speech(blocks, config.voice_activity):
                blocks.spoken()
                seconds = segment.end - segment.start
                while under_way and (
                    under_way[0][0].done()
                    or sum(waiting for *_, waiting in under_way) + seconds > config.batch_seconds
                ):
                    yield under_way.popleft()[0].result()
                tasks = as_tasks(segment, self.model.frontend)
                found: Future[Segment] = Future()
                wanted.add_done_callback(partial(_cancel, found))

                def opened(tasks: Any = tasks, found: "Future[Segment]" = found) -> StreamHandle:
                    handle = self.engine.open_segment(config, hinting, *tasks)
                    self._segments[handle] = found
                    return handle

                under_way.append((found, self.submit(opened).result(), seconds))
            while under_way:
                yield under_way.popleft()[0].result()
        finally:
            if under_way:
                handles = [handle for _, handle, _ in under_way]
                with suppress(OverloadedError):
                    self.post(lambda: self._drop_segments(handles))

    def _drop_segments(self, handles: Sequence[StreamHandle]) -> None:
        for handle in handles:
            if self._segments.pop(handle, None) is not None:
                self.engine.drop(handle)

    def _run(self) -> None:
        busy, step_s = False, 0.0
        while True:
            self._beat = time.monotonic()
            if not self._work_off(block=not busy):
                self._abandon()
                return
            self._listen(max(_LISTEN_S, step_s))
            began, self._dropped = time.monotonic(), False
            try:
                self._step()
            except Exception as error:
                self._begin_anew(error)
            step_s = time.monotonic() - began
            busy = bool(self._listening) or any(handle.busy for handle in (*self._live, *self._segments))
            # A step frees the slots of what was dropped before it.
            busy |= self._dropped
            if not busy:
                self._rest()

    def _work_off(self, block: bool) -> bool:
        """Call what waits now, and no more: whoever keeps asking must not starve the step. False: the end."""
        for number in range(max(1, self._commands.qsize())):
            try:
                command = self._commands.get(block=block and not number, timeout=_HEARTBEAT_S)
            except queue.Empty:
                break
            if command is None:
                return False
            if not isinstance(command, LiveStream):
                command()
            elif command.handle not in self._live:
                command.call_idle()
            elif command.work and command not in self._listening:
                self._listening.append(command)
        return True

    def _listen(self, budget_s: float) -> None:
        """Do the work of the streams, one piece of each in turn."""
        end = time.monotonic() + budget_s
        while self._listening:
            stream = self._listening.popleft()
            try:
                work, seconds = stream.work.popleft()
            except IndexError:
                # Its stream was dropped meanwhile.
                continue
            try:
                work()
            except Exception as error:
                self._fail(stream, error)
            stream.heard_s += seconds
            # Whoever adds work says so afterwards, and the stream comes in again.
            if stream.work:
                self._listening.append(stream)
            if time.monotonic() >= end:
                return

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
            if handle.finished and not handle.busy and not stream.work:
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
            if command is not None and not isinstance(command, LiveStream):
                command()
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


class _GivenUp(Exception):  # noqa: N818  (nothing went wrong)
    """Nobody waits for the recording any more."""


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


class _Counted:
    """Blocks of 16 kHz samples, held against ``limits`` as they pass. Raises ``InputError`` beyond those, and
    ``_GivenUp`` once ``given_up`` says so.
    """

    # A file may hold so many seconds of sound, and so many more for each of its bytes: the leanest codecs for
    # speech (0.7 kbit/s) hold half of that. Files of silence hold hours in a few bytes.
    _FREE_S, _S_PER_BYTE = 600.0, 0.02

    def __init__(
        self,
        source: bytes | Path,
        blocks: Iterator[Floats],
        limits: RecordingLimits,
        given_up: Callable[[], bool],
    ) -> None:
        self._blocks, self._limits, self._given_up = blocks, limits, given_up
        self._bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
        self._samples = self._spoken = 0
        if (told := _told_seconds(source)) is not None:
            # Before any work.
            self._check(told)

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE

    def spoken(self) -> None:
        """Someone has spoken in what has passed so far."""
        self._spoken = self._samples

    def __iter__(self) -> Iterator[Floats]:
        for block in self._blocks:
            if self._given_up():
                raise _GivenUp
            self._samples += len(block)
            self._check(self.seconds)
            if self.seconds - self._spoken / SAMPLE_RATE > self._limits.max_silence_s:
                raise InputError(
                    f"nobody speaks for over {self._limits.max_silence_s:g} s; cut the recording there"
                )
            yield block

    def _check(self, seconds: float) -> None:
        if seconds > self._limits.max_duration_s:
            raise InputError(
                f"the recording is longer than the {self._limits.max_duration_s:g} s allowed here"
            )
        if seconds > self._FREE_S + self._S_PER_BYTE * self._bytes:
            raise InputError(f"{seconds:.0f} s of sound in {self._bytes} bytes are no speech")


def _told_seconds(source: bytes | Path) -> float | None:
    """How long a recording is by its own header; None if it does not say, or libsndfile cannot read it."""
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.LibsndfileError, OSError):
        return None
    # Streams that were written without knowing their length have the largest number there is.
    return info.frames / info.samplerate if 0 < info.frames < 1 << 48 else None
