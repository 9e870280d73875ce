"""The driver of a recording: what it puts together, and in which order it gives it back."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.engine import Engine, SegmentTasks
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.recording import Pending, in_batches, recognized
from nim4asr.recognition.result import Segment
from nim4asr.runtime.network import Model
from nim4asr.runtime.torch_network import torch_model


@pytest.fixture(scope="module")
def model(toy_checkpoint: Checkpoint) -> Model:
    return torch_model(toy_checkpoint)


def segments_of(seconds: Sequence[float]) -> Iterator[SpeechSegment]:
    for number, length in enumerate(seconds):
        yield SpeechSegment(100.0 * number, np.zeros(round(length * SAMPLE_RATE), np.float32))


class Begun:
    """What was begun, and what of it has been asked for."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.under_way: list[float] = []
        self.most = 0.0
        self.at_once = False

    def __call__(self, batch: Sequence[SegmentTasks]) -> list[Pending]:
        self.batches.append([round(end.time - start.time, 3) for start, _, end in batch])
        self.under_way += self.batches[-1]
        self.most = max(self.most, len(self.under_way) * max(self.under_way))
        return [Waiting(self, Segment(start.time, end.time, "text", 1.0)) for start, _, end in batch]


@dataclass
class Waiting:
    """A segment that is done when it is waited for, or before if ``Begun.at_once``."""

    begun: Begun
    segment: Segment

    def done(self) -> bool:
        return self.begun.at_once

    def result(self) -> Segment:
        del self.begun.under_way[0]
        return self.segment


@pytest.mark.parametrize(
    ("seconds", "batches"),
    [
        ([], []),
        ([500.0], [[500.0]]),
        # The first one is alone, so that its text comes soon.
        ([20.0] * 13, [[20.0], [20.0] * 5, *[[20.0]] * 7]),
        # Padding counts: of two seconds and thirty, two rows of thirty.
        ([2.0, 2.0, 30.0, 30.0, 30.0, 30.0], [[2.0], [2.0, 30.0, 30.0], [30.0], [30.0]]),
        ([60.0, 60.0, 1.0, 1.0, 1.0], [[60.0], [60.0], [1.0], [1.0, 1.0]]),
        # One that fits nowhere is alone.
        ([1.0, 300.0, 1.0], [[1.0], [300.0], [1.0]]),
    ],
)
def test_batches_hold_what_fits(model: Model, seconds: list[float], batches: list[list[float]]) -> None:
    begun = Begun()
    found = list(in_batches(segments_of(seconds), model.frontend, 120.0, begun))
    assert begun.batches == batches and begun.under_way == []
    assert [one.start for one in found] == [100.0 * number for number in range(len(seconds))]
    assert begun.most <= max(120.0, *seconds, 0.0)


def test_no_more_is_read_than_fits(model: Model) -> None:
    read: list[int] = []

    def endless() -> Iterator[SpeechSegment]:
        for number in itertools.count():
            read.append(number)
            yield SpeechSegment(float(number), np.zeros(30 * SAMPLE_RATE, np.float32))

    begun = Begun()
    found = in_batches(endless(), model.frontend, 120.0, begun)
    assert next(found).start == 0.0
    assert read == [0, 1, 2, 3, 4] and begun.batches == [[30.0], [30.0] * 3]
    assert next(found).start == 1.0 and read[-1] == 5


def test_what_is_done_does_not_wait_for_a_batch_to_be_full(model: Model) -> None:
    read: list[int] = []

    def three() -> Iterator[SpeechSegment]:
        for number in range(3):
            read.append(number)
            yield SpeechSegment(float(number), np.zeros(SAMPLE_RATE, np.float32))

    begun = Begun()
    begun.at_once = True
    found = in_batches(three(), model.frontend, 120.0, begun)
    assert next(found).start == 0.0 and read == [0, 1]
    assert [one.start for one in found] == [1.0, 2.0] and begun.batches == [[1.0], [1.0, 1.0]]


def test_a_segment_that_fails_fails_the_recording(model: Model, speech: Floats) -> None:
    engine = Engine(model)
    genuine, calls = model.network.encode, itertools.count()

    def failing(features: Sequence[Floats], chunks: object) -> object:
        # Together, and then each alone: the third one.
        if len(features) > 1 or next(calls) == 2:
            raise ValueError("no")
        return genuine(features, None)

    segments = [SpeechSegment(float(number), speech) for number in range(4)]
    found = recognized(engine, segments, RecognitionConfig(), HintPolicy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.network, "encode", failing)
        assert [next(found).start, next(found).start] == [0.0, 1.0]
        with pytest.raises(ValueError, match="no"):
            next(found)
    assert engine.step() == {} and engine.slots_in_use == 0


def test_a_recording_given_up_leaves_nothing_behind(model: Model, speech: Floats) -> None:
    engine = Engine(model)
    segments = [SpeechSegment(float(number), speech) for number in range(4)]
    found = recognized(engine, segments, RecognitionConfig(), HintPolicy())
    next(found)
    found.close()  # type: ignore[attr-defined]
    engine.step()
    assert engine.step() == {} and engine.slots_in_use == 0
