"""A recording under way: its segments go into an engine in batches, and come out recognized, in order.

There is one driver, ``in_batches``, for whoever has an engine of their own (``recognized``) and for a server,
whose recordings share the engine of another thread: both make the same batches of the same recording.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nim4asr.acoustics.frontend import Frontend
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.audio.voice_activity import EndReason, SpeechSegment
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.engine import Engine, SegmentTasks, StreamHandle
from nim4asr.recognition.events import Failed, Final
from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd, SpeechStart
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.result import Segment


class Pending(Protocol):
    """A segment that is being recognized."""

    def done(self) -> bool:
        """Whether there is anything left to wait for."""

    def result(self) -> Segment:
        """Wait for it; raises what it failed by."""


# Begins to recognize a batch.
Begin = Callable[[Sequence[SegmentTasks]], Sequence[Pending]]


def in_batches(
    segments: Iterable[SpeechSegment], frontend: Frontend, batch_seconds: float, begin: Begin
) -> Iterator[Segment]:
    """What is said in each of the ``segments``, one after the other as they are done.

    At most ``batch_seconds`` of speech are under way, padding included: the longest row times the number of
    rows. The first segment is a batch of its own, so that its text comes soon; then, whenever the first one
    under way has to be waited for, ``begin`` gets those that have been cut since.
    """
    under_way: deque[tuple[Pending, float]] = deque()
    batch: list[SegmentTasks] = []
    lengths: list[float] = []

    def begun() -> None:
        if batch:
            under_way.extend(zip(begin(batch), lengths, strict=True))
            batch.clear()
            lengths.clear()

    for number, segment in enumerate(segments):
        while under_way and under_way[0][0].done():
            yield under_way.popleft()[0].result()
        seconds = len(segment.samples) / SAMPLE_RATE
        while under_way or batch:
            others = [*(other for _, other in under_way), *lengths]
            if (len(others) + 1) * max(seconds, *others) <= batch_seconds:
                break
            begun()
            yield under_way.popleft()[0].result()
        batch.append(as_tasks(segment, frontend))
        lengths.append(seconds)
        if number == 0:
            begun()
    begun()
    while under_way:
        yield under_way.popleft()[0].result()


def as_tasks(segment: SpeechSegment, frontend: Frontend) -> SegmentTasks:
    """A whole segment as the engine's tasks."""
    features = frontend(segment.samples)
    chunk = FeatureChunk(features, frontend.clock.output_length(len(features)), last=True)
    return SpeechStart(segment.start), chunk, SpeechEnd(segment.end, EndReason.END_OF_STREAM)


def recognized(
    engine: Engine, segments: Iterable[SpeechSegment], config: RecognitionConfig, hinting: HintPolicy
) -> Iterator[Segment]:
    """What is said in each segment, one after the other as they are done, by an engine that does nothing
    else. Raises what a segment failed by.
    """
    open_: list[StreamHandle] = []
    found: dict[StreamHandle, Segment | Exception] = {}

    def begin(batch: Sequence[SegmentTasks]) -> list[_OnEngine]:
        handles = engine.open_batch(config, hinting, batch)
        open_.extend(handles)
        return [_OnEngine(engine, handle, found, open_) for handle in handles]

    try:
        yield from in_batches(segments, engine.model.frontend, config.batch_seconds, begin)
    finally:
        for handle in open_:
            engine.drop(handle)


@dataclass(frozen=True, eq=False)
class _OnEngine:
    """A segment whose engine works while it is waited for, and then for all that are ``open_``."""

    engine: Engine
    handle: StreamHandle
    found: dict[StreamHandle, Segment | Exception]
    open_: list[StreamHandle]

    def done(self) -> bool:
        return self.handle in self.found

    def result(self) -> Segment:
        while not self.done():
            for other, events in self.engine.step().items():
                for event in events:
                    if isinstance(event, Failed):
                        self.found[other] = event.error
                    elif isinstance(event, Final):
                        self.found[other] = event.segment
        self.open_.remove(self.handle)
        outcome = self.found.pop(self.handle)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
