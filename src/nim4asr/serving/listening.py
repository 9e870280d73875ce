"""The front end of all live sound of an engine, in a thread of its own: samples in, tasks for the engine out.

The thread works in rounds. A round takes what waits of every stream, half a second of sound at most, and has
the voice detector hear all of them together; what it found goes to the engine's thread in one message. So the
engine's steps wait for no front end, no stream keeps the others waiting, and the more has piled up the less
each second of it costs.

Whoever feeds a stream puts work into its queue, here; the thread alone touches the front ends, and the
engine's thread alone touches the engine.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nim4asr.audio import voice_detector
from nim4asr.audio.samples import Floats
from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.errors import OverloadedError
from nim4asr.recognition.engine import StreamHandle
from nim4asr.recognition.events import Event
from nim4asr.recognition.frontend import Mark, Samples, StreamFrontend, Task, heard_together
from nim4asr.serving.logs import SERVER

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.serving.worker import EngineWorker

# A round takes so much of a stream, in seconds of sound, and one piece at least.
_ROUND_S = 0.5
# How long the idle thread sleeps at most before it shows that it lives, in seconds.
_HEARTBEAT_S = 1.0


@dataclass(frozen=True, eq=False)
class _Feed:
    samples: Samples
    seconds: float


@dataclass(frozen=True)
class _Commit:
    token: object


@dataclass(frozen=True)
class _Configure:
    voice_activity: VoiceActivityConfig


@dataclass(frozen=True, eq=False)
class _Hint:
    hints: tuple[str, ...]
    hotwords: "HotwordIndex | None"


@dataclass(frozen=True)
class _Finish:
    pass


_Work = _Feed | _Commit | _Configure | _Hint | _Finish


@dataclass(eq=False)
class Heard:
    """What a round found for one stream: tasks for the engine, and how many seconds of sound they are of."""

    stream: "LiveStream"
    tasks: list[Task] = field(default_factory=list)
    seconds: float = 0.0
    hint: "tuple[tuple[str, ...], HotwordIndex | None] | None" = None
    """Names that are given, and listened for, from now on."""
    last: bool = False
    """Nothing comes after it."""
    error: Exception | None = None
    """What the stream fails by."""


class LiveStream:
    """A live stream of a worker's engine; one thread feeds it.

    ``on_events`` is called in the engine's thread with each list of new events. What goes wrong with the
    stream is a ``Failed`` among them, after which nothing comes.
    """

    def __init__(
        self,
        worker: "EngineWorker",
        handle: StreamHandle,
        frontend: StreamFrontend,
        on_events: Callable[[list[Event]], None],
    ) -> None:
        self._worker, self.handle, self.on_events = worker, handle, on_events
        # The listener's.
        self.frontend = frontend
        self.over = False
        # What is to be done, in order: the feeding thread's end of it, and the listener's.
        self.work: deque[_Work] = deque()
        self.on_idle: deque[Callable[[], None]] = deque()
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
        self._do(_Feed(samples, seconds))

    def commit(self, token: object = None) -> None:
        """End the open segment; ``Marked(token)`` follows all that was fed before."""
        self._do(_Commit(token))

    def finish(self, on_idle: Callable[[], None] | None = None) -> None:
        """End the stream; ``on_idle`` is called in the engine's thread once its last event is out."""
        if on_idle is not None:
            self.on_idle.append(on_idle)
        self._do(_Finish())

    def configure(self, voice_activity: VoiceActivityConfig) -> None:
        """Judge by ``voice_activity`` where speech begins and ends, from now on."""
        self._do(_Configure(voice_activity))

    def hint(self, hints: Sequence[str], hotwords: "HotwordIndex | None") -> None:
        """Give other hints and hotwords, as ``StreamHandle.hint`` does."""
        self._do(_Hint(tuple(hints), hotwords))

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
        with suppress(IndexError):
            while True:
                on_idle = self.on_idle.popleft()
                try:
                    on_idle()
                except Exception:
                    SERVER.exception("the listener of a live stream failed")

    def _do(self, work: _Work) -> None:
        self.work.append(work)
        try:
            self._worker.listener.wake(self)
        except OverloadedError:
            self.call_idle()


class Listener:
    """The thread. ``on_heard`` is called there with what each round found, in order."""

    def __init__(self, on_heard: Callable[[list[Heard]], None]) -> None:
        self._on_heard = on_heard
        # Guards what follows it.
        self._changed = threading.Condition()
        # Streams with work, each once.
        self._waiting: dict[LiveStream, None] = {}
        self._closed = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def wake(self, stream: LiveStream) -> None:
        """See to the work of ``stream``. Raises ``OverloadedError`` once the listener is closed."""
        with self._changed:
            if self._closed:
                raise OverloadedError("the server is shutting down")
            self._waiting[stream] = None
            self._changed.notify()

    @property
    def beat_age_s(self) -> float:
        """How long ago the thread last showed that it lives."""
        return time.monotonic() - self._beat

    def close(self) -> None:
        """End the thread; what waits is given up."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            # A third of a second that no session has to wait for.
            voice_detector.load()
        except Exception:
            SERVER.exception("the voice detector cannot be loaded")
        while True:
            self._beat = time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed, _HEARTBEAT_S)
                streams, self._waiting = list(self._waiting), {}
                if self._closed:
                    break
            if not streams:
                continue
            try:
                heard = listen(streams)
            except Exception as error:
                SERVER.exception("a round of the listener failed; its streams are given up")
                heard = [Heard(stream, error=error) for stream in streams]
                for stream in streams:
                    stream.over = True
            with self._changed:
                # Those with more than a round takes come in again.
                self._waiting |= {stream: None for stream in streams if stream.work}
            try:
                self._on_heard(heard)
            except OverloadedError:
                # The engine is closed, and this thread about to be.
                for stream in streams:
                    stream.call_idle()
        for stream in streams:
            stream.call_idle()


def listen(streams: Sequence[LiveStream]) -> list[Heard]:
    """A round: some of the work of each stream, and what it found. An error is one stream's own."""
    found = [Heard(stream) for stream in streams]
    for heard in found:
        _guarded(_take, heard)
    # What was taken before an error is heard all the same.
    taken = [heard for heard in found if heard.seconds]
    try:
        probabilities: Sequence[Floats | None] = heard_together([one.stream.frontend for one in taken])
    except Exception:
        # Each alone.
        probabilities = [None] * len(taken)
    for heard, own in zip(taken, probabilities, strict=True):
        _guarded(_judge, heard, own)
    for heard in found:
        if heard.error is None:
            _guarded(_end_round, heard)
    return found


def _guarded(act: Callable[..., None], heard: Heard, *given: object) -> None:
    try:
        act(heard, *given)
    except Exception as error:
        heard.error = heard.error or error
        heard.stream.over = True


def _next(stream: LiveStream, *kinds: type[_Work]) -> _Work | None:
    """The next work of a stream, if it is of one of ``kinds``. Whoever drops the stream may clear it at any
    moment.
    """
    try:
        return stream.work.popleft() if isinstance(stream.work[0], kinds) else None
    except IndexError:
        return None


def _take(heard: Heard) -> None:
    """Take sound of a stream, until it is enough or something else is to be done."""
    stream = heard.stream
    if stream.over:
        # It has failed or was finished: nothing is done for it any more.
        stream.work.clear()
    while heard.seconds < _ROUND_S and isinstance(work := _next(stream, _Feed), _Feed):
        stream.frontend.take(work.samples)
        heard.seconds += work.seconds


def _judge(heard: Heard, probabilities: Floats | None) -> None:
    """What the sound that was taken means, by the ``probabilities`` of speech in it."""
    frontend = heard.stream.frontend
    if probabilities is None:
        (probabilities,) = heard_together([frontend])
    heard.tasks += frontend.judge(probabilities)


def _end_round(heard: Heard) -> None:
    """Do what is to be done after the sound that was taken: one thing, if it is anything but more sound."""
    stream = heard.stream
    match _next(stream, _Commit, _Configure, _Hint, _Finish):
        case _Commit(token):
            heard.tasks += [*stream.frontend.commit(), Mark(token)]
        case _Configure(voice_activity):
            stream.frontend.configure(voice_activity)
        case _Hint(hints, hotwords):
            heard.hint = (hints, hotwords)
        case _Finish():
            heard.tasks += stream.frontend.finish()
            stream.over = heard.last = True
