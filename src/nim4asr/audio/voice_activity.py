"""Where the speech is: Silero VAD, and the cutting of audio, live or recorded, into segments.

``Endpointer`` cuts as the samples come; ``cut_speech`` puts its cuts together to whole segments, so that a
recording and a live stream of it have the same ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_detector import WINDOW, VoiceDetector, context


@dataclass(frozen=True)
class VoiceActivityConfig:
    """When speech begins and ends."""

    threshold: float = 0.5
    """Speech begins above this probability, and ends below it less 0.15."""
    min_silence_s: float = 0.5
    """A pause of this length ends a segment."""
    speech_pad_s: float = 0.2
    """So much is kept before the voice and after it."""
    min_speech_s: float = 0.1
    """Shorter voice is ignored."""
    max_segment_s: float = 30.0
    """What is longer is cut."""
    split_window_s: float = 3.0
    """A long segment is cut at the quietest place of its last so many seconds, at most half of it."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, not {self.threshold}")
        if (
            self.max_segment_s <= 2 * self.speech_pad_s
            or min(self.min_silence_s, self.speech_pad_s, self.min_speech_s) < 0
        ):
            raise ValueError("the times of voice activity detection contradict one another")
        if self.split_window_s < 0.1:
            raise ValueError(f"split_window_s must be at least 0.1 s, not {self.split_window_s:g}")


@dataclass(frozen=True, eq=False)
class SpeechSegment:
    """Samples (N,) of one segment and where it starts, in seconds."""

    start: float
    samples: Floats

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


class EndReason(StrEnum):
    """Why a segment ended: a pause, its length, the client's wish, or the end of the audio."""

    SILENCE = "silence"
    MAX_DURATION = "max_duration"
    COMMIT = "commit"
    END_OF_STREAM = "end_of_stream"


@dataclass(frozen=True)
class Onset:
    """A segment begins at ``time`` seconds; what is said in it follows."""

    time: float


@dataclass(frozen=True, eq=False)
class Voiced:
    """The next samples (N,) of the segment that is open."""

    samples: Floats


@dataclass(frozen=True)
class Offset:
    """The open segment ends at ``time`` seconds."""

    time: float
    reason: EndReason


Activity = Onset | Voiced | Offset


def speech_probabilities(samples: Floats) -> NDArray[np.float32]:
    """The probability of speech in each whole window of 512 samples."""
    return VoiceDetector().probabilities(samples)


class Endpointer:
    """Finds segments of speech in a stream of samples of any length, as they begin and end.

    A sample is handed on as ``Voiced`` as soon as it is certain to belong to its segment, and once: in a
    pause what follows the padding waits until speech goes on, and so do the last ``split_window_s`` seconds
    before the longest length until the cut is found. Any cutting of the samples gives the same segments, and
    what is held is never more than some seconds.
    """

    def __init__(self, config: VoiceActivityConfig | None = None) -> None:
        self.configure(config or VoiceActivityConfig())
        self.detector = VoiceDetector()
        # All places are counted in samples from the start of the audio.
        self._buffer = np.zeros(0, np.float32)
        self._offset = 0  # the place of the buffer's first sample
        self._heard = 0  # up to here the detector has run; a multiple of WINDOW
        self._floor = 0  # the end of the last segment: the next begins no earlier
        self._first: int | None = None  # where speech, not yet certain, or the open segment begins
        self._open = False
        self._given = 0  # up to here the open segment has been handed on
        self._voiced = self._voice_end = 0
        self._end: int | None = None  # where the audio ends, once that is known

    def configure(self, config: VoiceActivityConfig) -> None:
        """Judge what comes from now on by ``config``."""
        self._config = config
        self._padding = round(config.speech_pad_s * SAMPLE_RATE)
        self._hangover = config.min_silence_s * SAMPLE_RATE
        self._shortest = config.min_speech_s * SAMPLE_RATE
        self._longest = round(config.max_segment_s * SAMPLE_RATE)
        self._search = min(round(config.split_window_s * SAMPLE_RATE), self._longest // 2)

    def feed(self, samples: Floats) -> list[Activity]:
        """What ``samples`` (N,), 16 kHz mono, make certain."""
        self.take(samples)
        return self.judge(self.detector.probabilities(self.unheard))

    def take(self, samples: Floats) -> None:
        """Keep ``samples`` (N,), to be judged: ``feed`` in two steps, between which the detector hears what
        is ``unheard``, here or together with other streams.
        """
        self._buffer = np.concatenate([self._buffer, samples])

    @property
    def unheard(self) -> Floats:
        """Samples (N,) that the ``detector`` is to hear, of which it takes whole windows."""
        return self._buffer[self._heard - self._offset :]

    def judge(self, probabilities: NDArray[np.float32]) -> list[Activity]:
        """What the ``probabilities`` of speech in the windows that were unheard make certain."""
        activities: list[Activity] = []
        for probability in probabilities:
            activities += self._window(float(probability))
        if self._open:
            keep = self._given
        elif self._first is not None:
            keep = self._first
        else:
            keep = max(self._floor, self._heard - self._padding)
        if keep > self._offset:
            self._buffer, self._offset = self._buffer[keep - self._offset :].copy(), keep
        return activities

    def commit(self) -> list[Activity]:
        """End the open segment here and now, without waiting for a pause; nothing if none is open."""
        return self._close(EndReason.COMMIT, self._heard)

    def finish(self) -> list[Activity]:
        """End the audio, and with it the open segment."""
        self._end = self._offset + len(self._buffer)
        activities: list[Activity] = []
        if not self._open:
            # A word at the very end may have been too short to be certain.
            rest = np.concatenate([self._buffer[self._heard - self._offset :], context()])
            for probability in self.detector.probabilities(rest):
                # In the context itself no speech begins.
                if self._open or (self._first is None and self._heard >= self._end):
                    break
                activities += self._window(float(probability))
        return [*activities, *self._close(EndReason.END_OF_STREAM, self._end)]

    def _window(self, probability: float) -> list[Activity]:
        begin, self._heard = self._heard, self._heard + WINDOW
        activities: list[Activity] = []
        if probability >= self._config.threshold - (0.15 if self._first is not None else 0.0):
            if self._first is None:
                self._first, self._voiced = max(begin - self._padding, self._floor), 0
            self._voiced += WINDOW
            self._voice_end = self._heard
            if not self._open and self._voiced >= self._shortest:
                activities += self._begin()
        elif self._first is not None and self._heard - self._voice_end >= self._hangover:
            activities += self._close(EndReason.SILENCE, self._heard)
            self._first = None
        if self._open:
            assert self._first is not None
            if self._heard - self._first > self._longest - WINDOW:
                activities += self._cut()
            else:
                activities += self._give(
                    min(self._certain(self._heard), self._first + self._longest - self._search)
                )
        return activities

    def _certain(self, heard: int) -> int:
        certain = min(heard, self._voice_end + self._padding)
        return certain if self._end is None else min(certain, self._end)

    def _begin(self) -> list[Activity]:
        assert self._first is not None
        self._open, self._given = True, self._first
        return [Onset(self._first / SAMPLE_RATE)]

    def _give(self, end: int) -> list[Activity]:
        if end <= self._given:
            return []
        samples = self._buffer[self._given - self._offset : end - self._offset].copy()
        self._given = end
        return [Voiced(samples)]

    def _close(self, reason: EndReason, heard: int, at: int | None = None) -> list[Activity]:
        if not self._open:
            return []
        end = self._certain(heard) if at is None else at
        activities = self._give(end)
        self._open, self._first, self._floor = False, None, end
        return [*activities, Offset(end / SAMPLE_RATE, reason)]

    def _cut(self) -> list[Activity]:
        end = self._certain(self._heard)
        held = self._buffer[self._given - self._offset : end - self._offset]
        cut = self._given + _quietest(held)
        activities = self._close(EndReason.MAX_DURATION, self._heard, cut)
        if self._voice_end > cut:
            # The speech goes on: the rest of it opens the next segment at once.
            self._first, self._voiced = cut, max(self._voice_end - cut, round(self._shortest))
            activities += [*self._begin(), *self._give(end)]
        return activities


def cut_speech(
    blocks: Iterable[Floats], config: VoiceActivityConfig | None = None
) -> Iterator[SpeechSegment]:
    """Segments of speech in a stream of ``blocks`` of samples, of any sizes, as they end.

    Holds no more than about one segment in memory, so the audio may be of any length.
    """
    endpointer = Endpointer(config)
    start, parts = 0.0, list[Floats]()

    def whole(activities: Iterable[Activity]) -> Iterator[SpeechSegment]:
        nonlocal start
        for activity in activities:
            match activity:
                case Onset(time):
                    start = time
                    parts.clear()
                case Voiced(samples):
                    parts.append(samples)
                case Offset():
                    yield SpeechSegment(start, np.concatenate(parts))

    for block in blocks:
        yield from whole(endpointer.feed(block))
    yield from whole(endpointer.finish())


def _quietest(samples: Floats) -> int:
    """The middle of the quietest 100 ms of ``samples``."""
    window = min(SAMPLE_RATE // 10, len(samples))
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    energy = power[window:] - power[:-window] if window else power
    return int(energy.argmin()) + window // 2
