"""What a reader of a container yields, and the files that readers are made of."""

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nim4asr.audio.samples import Floats

# Read about this many samples of one channel at a time, so that hours of many channels fit in memory.
BLOCK = 1 << 18
# What is missing of a file or its sound, in seconds; less is rounding of its format.
MISSING_S = 0.2


class Sound(NamedTuple):
    """Samples (N, channels) at ``rate`` Hz, which follow on what came before; N may be 0, while a reader
    searches.
    """

    samples: Floats
    rate: int


class Silence(NamedTuple):
    """Seconds in which nothing is to be heard: the sound begins later, or pauses; or it is ``lost``, for it
    is damaged or missing.
    """

    seconds: float
    lost: bool


class CutShort(NamedTuple):
    """The file ends before it should, by so many seconds, if that is known."""

    seconds: float | None


Stretch = Sound | Silence | CutShort

# While a reader looks for the next sound, it yields this, so that it can be stopped.
SEARCHING = Sound(np.zeros((0, 1), np.float32), 16_000)


class NotAudioError(Exception):
    """A reader finds nothing here that it could read; the message says why."""


def bounded(samples: Floats) -> Floats:
    """Samples of a decoder of lossy audio, which gives anything where the audio is damaged, in [-1, 1]."""
    whole = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.asarray(np.clip(whole, -1.0, 1.0), np.float32)


def gathered(stretches: Iterator[Stretch], least: int = 1 << 14) -> Iterator[Stretch]:
    """The same stretches, short ones that follow on one another put together: each costs something further
    on.
    """
    parts: list[Floats] = []
    count, rate = 0, 0

    def whole() -> Iterator[Sound]:
        if parts:
            yield Sound(np.concatenate(parts), rate)
            parts.clear()

    try:
        for stretch in stretches:
            if not isinstance(stretch, Sound):
                yield from whole()
                yield stretch
                continue
            samples = stretch.samples
            if parts and (stretch.rate != rate or samples.shape[1] != parts[0].shape[1] or count >= least):
                yield from whole()
            count, rate = (count if parts else 0) + len(samples), stretch.rate
            parts.append(samples)
    except NotAudioError:
        yield from whole()
        raise
    yield from whole()


class Window:
    """Random access to a file, a buffer at a time."""

    _SIZE = 1 << 18

    def __init__(self, data: "BinaryIO | Spliced", start: int = 0) -> None:
        self.data = data
        self.start = start
        self.end = data.seek(0, io.SEEK_END)
        self._at, self._bytes = start, b""

    def at(self, place: int, count: int) -> bytes:
        """``count`` bytes from ``place`` on, fewer at the end."""
        begin = place - self._at
        if begin < 0 or begin + count > len(self._bytes):
            self.data.seek(place)
            self._bytes = self.data.read(min(max(count, self._SIZE), max(0, self.end - place)))
            self._at, begin = place, 0
        return self._bytes[begin : begin + count]

    def find(self, pattern: bytes, place: int, end: int | None = None) -> int | None:
        """Where ``pattern`` begins next, from ``place`` on and before ``end``."""
        end = self.end if end is None else min(end, self.end)
        while place < end:
            part = self.at(place, min(self._SIZE, self.end - place))
            found = part.find(pattern)
            if found >= 0:
                return place + found if place + found < end else None
            if len(part) < self._SIZE:
                return None
            place += len(part) - len(pattern) + 1
        return None


class Spliced(io.RawIOBase):
    """A file for reading made of pieces: bytes, and ranges (start, end) of another file."""

    def __init__(self, data: "BinaryIO | Spliced", pieces: Sequence[bytes | tuple[int, int]]) -> None:
        self._data = data
        self._pieces = [piece for piece in pieces if isinstance(piece, bytes) or piece[0] < piece[1]]
        self._starts = [0]
        for piece in self._pieces:
            size = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            self._starts.append(self._starts[-1] + size)
        self._place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place in the whole."""
        return self._place

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place of the whole."""
        self._place = max(0, place + {0: 0, 1: self._place, 2: self._starts[-1]}[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``; how much of it is filled is less only at the end."""
        target, filled = memoryview(buffer).cast("B"), 0
        while filled < len(target) and self._place < self._starts[-1]:
            number = bisect_right(self._starts, self._place) - 1
            piece, inner = self._pieces[number], self._place - self._starts[number]
            count = min(len(target) - filled, self._starts[number + 1] - self._place)
            if isinstance(piece, bytes):
                part = piece[inner : inner + count]
            else:
                self._data.seek(piece[0] + inner)
                part = self._data.read(count)
            if not part:
                break  # The file has become shorter meanwhile.
            target[filled : filled + len(part)] = part
            filled += len(part)
            self._place += len(part)
        return filled
