"""How late a live stream's text is, and how much of it is taken back.

A recording is replayed in frames, each of which exists from the moment it has been said. Computing takes the
time it takes, waiting takes none: the clock jumps to the next frame when the stream is done before it, and
runs on when it is late. So a replay gives the delays of one in real time, in less time than that.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.recognition.events import Event, Final, Partial, SpeechStarted
from nim4asr.recognition.streaming import Stream
from nim4asr.text.normalization import tokens


@dataclass(frozen=True)
class DisplayedEvent:
    """An event, the time at which the sound that brought it had arrived, and that at which it could be
    shown.
    """

    event: Event
    arrived: float
    shown: float


@dataclass(frozen=True)
class Replay:
    """A replayed recording of ``seconds``; ``computing`` is the seconds of computing that each frame took."""

    seconds: float
    events: tuple[DisplayedEvent, ...]
    computing: tuple[float, ...]


def replay(
    stream: Stream, samples: Floats, frame: float = 0.1, clock: Callable[[], float] = time.perf_counter
) -> Replay:
    """Feed ``samples`` (N,), 16 kHz, to ``stream`` in frames of ``frame`` seconds, and finish it."""
    size = round(frame * SAMPLE_RATE)
    events: list[DisplayedEvent] = []
    computing: list[float] = []
    now = 0.0
    for start in range(0, len(samples) + size, size):
        block = samples[start : start + size]
        arrived = min(start + size, len(samples)) / SAMPLE_RATE
        began = clock()
        found = stream.feed(block) if len(block) else stream.finish()
        computing.append(clock() - began)
        now = max(now, arrived) + computing[-1]
        events += [DisplayedEvent(event, arrived, now) for event in found]
    return Replay(len(samples) / SAMPLE_RATE, tuple(events), tuple(computing))


def first_partial_delays(replayed: Replay, padding: float) -> list[float]:
    """Seconds from the voice's start to the first text on the screen, for each segment that had a partial.

    ``padding`` is that of the voice activity detection, which a segment's start lies before its voice.
    """
    delays: list[float] = []
    start: float | None = None
    for event in replayed.events:
        if isinstance(event.event, SpeechStarted):
            start = event.event.time + padding
        elif isinstance(event.event, Partial) and start is not None:
            delays.append(event.shown - start)
            start = None
    return delays


def final_delays(replayed: Replay) -> list[float]:
    """Seconds from the arrival of the sound that ended a segment to its final on the screen."""
    return [event.shown - event.arrived for event in replayed.events if isinstance(event.event, Final)]


def word_delays(replayed: Replay) -> list[float]:
    """Seconds from a word's end to its first display as stable or final text, for every word of the
    finals.
    """
    delays: list[float] = []
    for shown, final in _segments(replayed):
        words = final.segment.words
        stable = [(progress.shown, tokens(_stable(progress.event))) for progress in shown]
        for place, word in enumerate(words):
            (wanted,) = tokens(word.text)[:1] or [""]
            at = next(
                when for when, text in stable if text[place : place + 1] == [wanted] or text == stable[-1][1]
            )
            delays.append(at - word.end)
    return delays


@dataclass(frozen=True)
class Revisions:
    """Words shown, and those of them that a later display of the same segment changed or took away; of the
    stable ones alone likewise.
    """

    shown: int = 0
    revised: int = 0
    stable_shown: int = 0
    stable_revised: int = 0

    def __add__(self, other: "Revisions") -> "Revisions":
        return Revisions(
            self.shown + other.shown,
            self.revised + other.revised,
            self.stable_shown + other.stable_shown,
            self.stable_revised + other.stable_revised,
        )


def revisions(replayed: Replay) -> Revisions:
    """How much of what was shown did not last. A word is shown when it newly stands at its place in the
    text.
    """
    total = Revisions()
    for shown, _ in _segments(replayed):
        whole = [tokens(_whole(progress.event)) for progress in shown]
        stable = [tokens(_stable(progress.event)) for progress in shown]
        total += Revisions(*_changes(whole), *_changes(stable))
    return total


def _changes(displays: Sequence[Sequence[str]]) -> tuple[int, int]:
    shown = revised = 0
    before: Sequence[str] = ()
    for display in displays:
        same = [a == b for a, b in zip(before, display, strict=False)]
        shown += len(display) - sum(same)
        revised += len(before) - sum(same)
        before = display
    return shown, revised


def _segments(replayed: Replay) -> list[tuple[list[DisplayedEvent], Final]]:
    """The partials and, last, the final of each segment."""
    segments: list[tuple[list[DisplayedEvent], Final]] = []
    shown: list[DisplayedEvent] = []
    for event in replayed.events:
        if isinstance(event.event, Partial | Final):
            shown.append(event)
        if isinstance(event.event, Final):
            segments.append((shown, event.event))
            shown = []
    return segments


def _whole(event: Event) -> str:
    return event.stable + event.volatile if isinstance(event, Partial) else _stable(event)


def _stable(event: Event) -> str:
    if isinstance(event, Partial):
        return event.stable
    return event.segment.text if isinstance(event, Final) else ""
