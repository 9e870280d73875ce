"""One stream's front end: samples in, and out of them, in order, what the network is to do.

A segment begins, chunks of its features become complete, it ends. None of it needs the network, so a front
end may run in another thread while the network is busy. The front ends of many streams share the calls of the
voice detector (``heard_together``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nim4asr.acoustics.frontend import Frontend
from nim4asr.audio.reading import Resampler, as_array
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import (
    Activity,
    Endpointer,
    EndReason,
    Offset,
    Onset,
    VoiceActivityConfig,
    Voiced,
)
from nim4asr.audio.voice_detector import probabilities_together
from nim4asr.errors import InputError


@dataclass(frozen=True)
class SpeechStart:
    """A segment begins at ``time`` seconds."""

    time: float


@dataclass(frozen=True, eq=False)
class FeatureChunk:
    """The next normalized ``features`` (T, bins) of the segment, which make ``frames`` encoder frames: of
    live speech a window of the encoder's clock, else a whole segment.

    Less than a whole chunk only as its segment's ``last``.
    """

    features: Floats
    frames: int
    last: bool


@dataclass(frozen=True)
class SpeechEnd:
    """The segment ends at ``time`` seconds."""

    time: float
    reason: EndReason


@dataclass(frozen=True)
class Mark:
    """A place in the stream: ``Marked`` tells when everything before it has been recognized."""

    token: object


Task = SpeechStart | FeatureChunk | SpeechEnd | Mark
Samples = NDArray[np.generic] | bytes | bytearray | memoryview


class StreamFrontend:
    """Takes samples of ``rate`` Hz and ``channels``; its chunks are of ``size`` encoder frames, or whole
    segments if that is None.
    """

    def __init__(
        self,
        acoustics: Frontend,
        size: int | None,
        voice_activity: VoiceActivityConfig,
        rate: int = SAMPLE_RATE,
        channels: int = 1,
    ) -> None:
        self._acoustics, self._size = acoustics, size
        self._channels = channels
        self._resampler = Resampler(rate, channels)
        self.endpointer = Endpointer(voice_activity)
        self._stream = acoustics.stream()
        self._features = acoustics.nothing

    def feed(self, samples: Samples) -> list[Task]:
        """The tasks that ``samples`` (N,) or (N, channels) complete; bytes are 16-bit little-endian PCM.

        Raises ``InputError`` for invalid samples; none of them are then heard.
        """
        self.take(samples)
        return self.judge(heard_together([self])[0])

    def take(self, samples: Samples) -> None:
        """Keep ``samples``, to be judged: ``feed`` in two steps. Raises as ``feed`` does."""
        self.endpointer.take(self._resampler.feed(self._array(samples)))

    def judge(self, probabilities: Floats) -> list[Task]:
        """The tasks that what was taken completes, by the ``probabilities`` of speech in its windows, which
        ``heard_together`` gives.
        """
        return self._tasks(self.endpointer.judge(probabilities))

    def configure(self, voice_activity: VoiceActivityConfig) -> None:
        """Judge what comes from now on by ``voice_activity``."""
        self.endpointer.configure(voice_activity)

    def commit(self) -> list[Task]:
        """End the open segment here."""
        return self._tasks(self.endpointer.commit())

    def finish(self) -> list[Task]:
        """End the stream, and with it the open segment."""
        silence = np.zeros(0 if self._channels == 1 else (0, self._channels), np.float32)
        rest = self.endpointer.feed(self._resampler.feed(silence, last=True))
        return self._tasks([*rest, *self.endpointer.finish()])

    def _array(self, samples: Samples) -> NDArray[np.generic]:
        if isinstance(samples, memoryview) and samples.itemsize > 1:
            # A view of samples of some type of their own.
            return np.asarray(samples)
        if not isinstance(samples, bytes | bytearray | memoryview):
            return as_array(samples)
        samples = bytes(samples)
        whole = 2 * self._channels
        if len(samples) % whole:
            raise InputError(
                f"{len(samples)} bytes are no whole number of 16-bit samples of {self._channels} channel(s); "
                f"give multiples of {whole} bytes"
            )
        pcm = np.frombuffer(samples, "<i2")
        return pcm if self._channels == 1 else pcm.reshape(-1, self._channels)

    def _tasks(self, activities: list[Activity]) -> list[Task]:
        tasks: list[Task] = []
        for activity in activities:
            match activity:
                case Onset(time):
                    self._stream = self._acoustics.stream()
                    self._features = self._acoustics.nothing
                    tasks.append(SpeechStart(time))
                case Voiced(samples):
                    tasks += self._add(self._stream.feed(samples))
                case Offset(time, reason):
                    tasks += [*self._add(self._stream.finish()), *self._rest(), SpeechEnd(time, reason)]
        return tasks

    def _add(self, features: Floats) -> list[Task]:
        """Take in new features; the chunks that they complete."""
        self._features = np.concatenate([self._features, features])
        if self._size is None:
            return []
        clock = self._acoustics.clock
        chunks: list[Task] = []
        while len(self._features) >= clock.window(self._size):
            chunks.append(FeatureChunk(self._features[: clock.window(self._size)], self._size, last=False))
            self._features = self._features[clock.stride * self._size :]
        return chunks

    def _rest(self) -> list[Task]:
        """What is left at a segment's end; of a chunk, filled up with zeros, as the encoder pads."""
        clock, left = self._acoustics.clock, self._features
        frames = clock.output_length(len(left))
        if not frames:
            return []
        if self._size is not None:
            left = np.zeros((clock.window(self._size), left.shape[1]), np.float32)
            left[: len(self._features)] = self._features
        return [FeatureChunk(left, frames, last=True)]


def heard_together(frontends: Sequence[StreamFrontend]) -> list[Floats]:
    """The probabilities of speech in what each has taken; the voice detector hears all of them at once. If
    that fails, none of it has been heard.
    """
    endpointers = [frontend.endpointer for frontend in frontends]
    return probabilities_together([(one.detector, one.unheard) for one in endpointers])
