"""A recording under way: its segments go into an engine as there is room, and come out recognized, in
order.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nim4asr.acoustics.frontend import Frontend
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.audio.voice_activity import EndReason, SpeechSegment
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.engine import Engine, StreamHandle
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd, SpeechStart
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.result import Segment


class Recording:
    """Speech ``segments`` on their way through ``engine``, at most ``config.batch_seconds`` of them at a
    time.

    Between two steps of the engine, ``take`` what the last one brought. While others step the engine, this is
    how a server recognizes files; ``recognized`` does it for a caller who has nothing else to do.
    """

    def __init__(
        self,
        engine: Engine,
        segments: Iterable[SpeechSegment],
        config: RecognitionConfig,
        hinting: HintPolicy,
    ) -> None:
        self._engine, self._config, self._hinting = engine, config, hinting
        self._segments = iter(segments)
        self._next: SpeechSegment | None = next(self._segments, None)
        self._under_way: deque[tuple[StreamHandle, float]] = deque()
        self._found: dict[StreamHandle, Segment] = {}
        self._fill()

    @property
    def done(self) -> bool:
        """Whether every segment has come out."""
        return self._next is None and not self._under_way

    def take(self, events: Mapping[StreamHandle, Sequence[Event]]) -> list[Segment]:
        """The segments that are recognized and next in order, now that ``events`` are known.

        Raises what a segment failed by.
        """
        for handle, _ in self._under_way:
            for event in events.get(handle, ()):
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Final):
                    self._found[handle] = event.segment
        ready: list[Segment] = []
        while self._under_way and self._under_way[0][0] in self._found:
            ready.append(self._found.pop(self._under_way.popleft()[0]))
        self._fill()
        return ready

    def drop(self) -> None:
        """Give up what is under way."""
        for handle, _ in self._under_way:
            self._engine.drop(handle)
        self._under_way.clear()
        self._next = None

    def _fill(self) -> None:
        """Open segments while they fit: a batch is as large as its longest row, times its rows."""
        while self._next is not None:
            seconds = len(self._next.samples) / SAMPLE_RATE
            longest = max([seconds, *(other for _, other in self._under_way)])
            if self._under_way and (len(self._under_way) + 1) * longest > self._config.batch_seconds:
                return
            tasks = as_tasks(self._next, self._engine.model.frontend)
            handle = self._engine.open_segment(self._config, self._hinting, *tasks)
            self._under_way.append((handle, seconds))
            self._next = next(self._segments, None)


def as_tasks(segment: SpeechSegment, frontend: Frontend) -> tuple[SpeechStart, FeatureChunk, SpeechEnd]:
    """A whole segment as the engine's tasks."""
    features = frontend(segment.samples)
    chunk = FeatureChunk(features, frontend.clock.output_length(len(features)), last=True)
    return SpeechStart(segment.start), chunk, SpeechEnd(segment.end, EndReason.END_OF_STREAM)


def recognized(
    engine: Engine, segments: Iterable[SpeechSegment], config: RecognitionConfig, hinting: HintPolicy
) -> Iterator[Segment]:
    """What is said in each segment, one after the other as they are done."""
    recording = Recording(engine, segments, config, hinting)
    try:
        while not recording.done:
            yield from recording.take(engine.step())
    finally:
        recording.drop()
