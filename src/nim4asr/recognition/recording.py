"""A recording under way: its segments go into an engine in batches, and come out recognized, in order.

There is one driver, ``in_batches``, for whoever has an engine of their own (``recognized``) and for a server,
whose recordings share the engine of another thread: both make the same batches of the same recording.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from nim4asr.acoustics.frontend import Frontend
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.audio.voice_activity import EndReason, SpeechSegment
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.engine import Engine, SegmentTasks, StreamHandle
from nim4asr.recognition.events import Failed, Final
from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd, SpeechStart
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.result import Segment

# Begins to recognize a batch; the calls wait for its segments, one each, and raise what they failed by.
Begin = Callable[[Sequence[SegmentTasks]], Sequence[Callable[[], Segment]]]


def in_batches(
    segments: Iterable[SpeechSegment], frontend: Frontend, batch_seconds: float, begin: Begin
) -> Iterator[Segment]:
    """What is said in each of the ``segments``, one after the other as they are done.

    At most ``batch_seconds`` of speech are under way, padding included: the longest row times the number of
    rows. Whenever the first of them is done, ``begin`` gets those that fit into its place.
    """
    under_way: deque[tuple[Callable[[], Segment], float]] = deque()
    batch: list[SegmentTasks] = []
    lengths: list[float] = []

    def begun() -> None:
        if batch:
            under_way.extend(zip(begin(batch), lengths, strict=True))
            batch.clear()
            lengths.clear()

    for segment in segments:
        seconds = len(segment.samples) / SAMPLE_RATE
        while under_way or batch:
            others = [*(other for _, other in under_way), *lengths]
            if (len(others) + 1) * max(seconds, *others) <= batch_seconds:
                break
            begun()
            yield under_way.popleft()[0]()
        batch.append(as_tasks(segment, frontend))
        lengths.append(seconds)
    begun()
    while under_way:
        yield under_way.popleft()[0]()


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
    found: dict[StreamHandle, Segment | Exception] = {}
    open_: list[StreamHandle] = []

    def begin(batch: Sequence[SegmentTasks]) -> list[Callable[[], Segment]]:
        handles = engine.open_batch(config, hinting, batch)
        open_.extend(handles)
        return [lambda handle=handle: wait(handle) for handle in handles]  # type: ignore[misc]

    def wait(handle: StreamHandle) -> Segment:
        while handle not in found:
            for other, events in engine.step().items():
                for event in events:
                    if isinstance(event, Failed):
                        found[other] = event.error
                    elif isinstance(event, Final):
                        found[other] = event.segment
        open_.remove(handle)
        outcome = found.pop(handle)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    try:
        yield from in_batches(segments, engine.model.frontend, config.batch_seconds, begin)
    finally:
        for handle in open_:
            engine.drop(handle)
