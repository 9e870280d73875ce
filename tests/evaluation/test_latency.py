from typing import Any, cast

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import EndReason
from nim4asr.evaluation.latency import (
    DisplayedEvent,
    Replay,
    Revisions,
    final_delays,
    first_partial_delays,
    replay,
    revisions,
    word_delays,
)
from nim4asr.recognition.events import Event, Final, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.result import Segment, Word
from nim4asr.recognition.streaming import Stream


class Scripted:
    """A stream that computes 0.03 s a frame, but 0.25 s for its third."""

    def __init__(self) -> None:
        self.time, self.frames = 0.0, 0

    def clock(self) -> float:
        return self.time

    def feed(self, samples: Floats) -> list[Event]:
        self.frames += 1
        self.time += 0.25 if self.frames == 3 else 0.03
        return [Partial(0.0, "", str(self.frames))]

    def finish(self) -> list[Event]:
        self.time += 0.05
        return [SpeechEnded(0.0, EndReason.END_OF_STREAM)]


def test_a_late_frame_delays_those_after_it() -> None:
    stream = Scripted()
    replayed = replay(cast(Stream, stream), np.zeros(8000, np.float32), clock=stream.clock)
    assert replayed.seconds == 0.5
    assert [one.arrived for one in replayed.events] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert [one.shown for one in replayed.events] == pytest.approx([0.13, 0.23, 0.55, 0.58, 0.61, 0.66])
    assert sum(replayed.computing) == pytest.approx(0.42)


def test_a_recording_of_half_a_frame_is_heard_whole() -> None:
    stream = Scripted()
    replayed = replay(cast(Stream, stream), np.zeros(800, np.float32), clock=stream.clock)
    assert stream.frames == 1 and isinstance(replayed.events[-1].event, SpeechEnded)


def final(text: str, time: float) -> Final:
    words = tuple(Word(word, i, i + 0.5, 1.0) for i, word in enumerate(text.split()))
    return Final(time, Segment(0.0, time, text, 1.0, words))


def shown(*events: tuple[Any, float, float]) -> Replay:
    return Replay(9.0, tuple(DisplayedEvent(*one) for one in events), ())


REPLAY = shown(
    (SpeechStarted(0.3), 0.6, 0.6),
    (Partial(1.0, "", "one too"), 1.0, 1.1),
    (Partial(2.0, "one", " two tree"), 2.0, 2.2),
    (Partial(3.0, "one too", " three four"), 3.0, 3.1),
    (SpeechEnded(3.9, EndReason.SILENCE), 4.4, 4.5),
    (final("one two three", 3.9), 4.4, 4.5),
    (SpeechStarted(6.0), 6.1, 6.1),
    (final("", 7.0), 7.5, 7.6),
)


def test_delays() -> None:
    assert first_partial_delays(REPLAY, padding=0.2) == pytest.approx([0.6])
    assert final_delays(REPLAY) == pytest.approx([0.1, 0.1])
    # "one" is stable at 2.2, "two" is only right in the final.
    assert word_delays(REPLAY) == pytest.approx([2.2 - 0.5, 4.5 - 1.5, 4.5 - 2.5])


def test_revisions() -> None:
    # Shown: one too, two tree, too three four, two. Revised: too, two tree, too and four.
    assert revisions(REPLAY) == Revisions(shown=8, revised=5, stable_shown=4, stable_revised=1)
    assert revisions(REPLAY) + Revisions(1, 1, 1, 1) == Revisions(9, 6, 5, 2)
    assert revisions(shown()) == Revisions()


def test_a_real_stream_replayed_says_what_it_says_unpaced(speech: Floats) -> None:
    import nim4asr

    samples = np.concatenate([speech, np.zeros(SAMPLE_RATE, np.float32)])
    replayed = replay(nim4asr.stream(), samples)
    stream = nim4asr.stream()
    assert [one.event for one in replayed.events] == [*stream.feed(samples), *stream.finish()]
    assert all(one.shown >= one.arrived for one in replayed.events)
    assert len(final_delays(replayed)) == 1 and len(word_delays(replayed)) > 0
