"""Sound in: any file, bytes or array to 16 kHz mono samples in [-1, 1].

wav, flac, mp3, ogg and opus are read by libsndfile, which its wheel brings along; m4a, mp4, aac, webm and mkv
by PyAV (``pip install 'nim4asr[containers]'``), which brings its own FFmpeg libraries. Which of them reads a
file is decided by its first bytes (``nim4asr.audio.containers.signatures``).
"""

import io
import os
import select
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.containers.signatures import sounds
from nim4asr.audio.containers.stretches import BLOCK, CutShort, NotAudioError, Silence, Sound, Stretch
from nim4asr.audio.samples import SAMPLE_RATE, Floats, Resampler, as_array, from_array
from nim4asr.errors import InputError
from nim4asr.files import reason

__all__ = [
    "FileChannels",
    "Resampler",
    "Source",
    "Warn",
    "as_array",
    "channels_of",
    "from_array",
    "of_array",
    "read_audio",
    "stream_audio",
]

Source = Path | str | bytes
Warn = Callable[[str], None]

# So long a pipe may stay silent, in seconds.
_PATIENCE = 30.0
# No more silence than this is put between what is heard of one file, in seconds: a few bytes of a damaged or
# malicious file may say anything.
_MOST_SILENCE = 7200.0
# Channels that differ by no more than this are one sound, recorded twice: a step of 12 bits.
_ALIKE = 2.0**-11


@dataclass(frozen=True)
class FileChannels:
    """The channels of a recording: how many there are where it has most, and whether all hold the same
    sound.
    """

    count: int
    alike: bool


def read_audio(source: Source, warn: Warn | None = None) -> Floats:
    """All samples (N,) of an audio file, given by its path or its bytes, as 16 kHz mono.

    ``warn`` is told as by ``stream_audio``. Raises ``InputError``, naming the file, if it is missing, empty
    or no sound.
    """
    blocks = list(stream_audio(source, warn))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def stream_audio(source: Source, warn: Warn | None = None, *, channel: int | None = None) -> Iterator[Floats]:
    """The samples of an audio file as 16 kHz mono, block by block; a block may be empty.

    Of several channels the mean, or ``channel`` alone, counted from 1: silence where the file has fewer.

    A file may be several, joined, and damaged in places: all that can be decoded is given, silence for what
    cannot, and for as long as the container says that the sound pauses or has not begun. ``source`` may be a
    pipe, which is read to its end first. At the end ``warn`` is told in a sentence of what was damaged, and
    in another if the file ends too early. Whoever stops asking for blocks ends the reading. Raises
    ``InputError`` as ``read_audio`` does.
    """
    with _named_stretches(source) as (name, stretches):
        timeline = _Timeline(channel)
        for stretch in stretches:
            yield from timeline.add(stretch)
        yield from timeline.end()
        if warn is not None:
            for warning in timeline.warnings():
                warn(f"{name}: {warning}")


def channels_of(source: Source, check: Callable[[float], None] = lambda seconds: None) -> FileChannels:
    """The channels of an audio file, which is read to its end. ``check`` is told how many seconds of
    sound were read, again and again, and may raise. Raises ``InputError`` as ``read_audio`` does.
    """
    count, alike, seconds = 1, True, 0.0
    with _named_stretches(source) as (_, stretches):
        for stretch in stretches:
            check(seconds)
            if isinstance(stretch, Sound) and len(stretch.samples):
                seconds += len(stretch.samples) / stretch.rate
                own = of_array(stretch.samples)
                count, alike = max(count, own.count), alike and own.alike
    return FileChannels(count, alike)


def of_array(samples: NDArray[np.generic]) -> FileChannels:
    """The channels of samples (N,) or (N, channels)."""
    if samples.ndim < 2 or not len(samples) or samples.dtype.kind not in "iuf":
        return FileChannels(1 if samples.ndim < 2 else samples.shape[1], True)
    full = 1.0 if samples.dtype.kind == "f" else 2.0 ** (8 * samples.dtype.itemsize - 1)
    spread = samples.max(axis=1).astype(np.float64) - samples.min(axis=1)
    return FileChannels(samples.shape[1], bool(spread.max() <= _ALIKE * full))


@contextmanager
def _named_stretches(source: Source) -> Iterator[tuple[str, Iterator[Stretch]]]:
    """What there is of a file, and its name; what goes wrong is told with it."""
    name = f"{len(source)} bytes of audio" if isinstance(source, bytes) else str(source)
    data = io.BytesIO(source) if isinstance(source, bytes) else _opened(Path(source), name)
    with data:
        try:
            if not data.read(1):
                raise InputError("the file is empty")
            with closing(sounds(data)) as stretches:
                yield name, stretches
        except OSError as error:
            raise InputError(f"{name}: the file cannot be read ({reason(error)})") from None
        except NotAudioError as error:
            raise InputError(f"{name}: not audio that can be read, or cut short ({error})") from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None


def kept(source: Source) -> Source:
    """``source``, to be read more than once: of a pipe, all that comes out of it. Raises ``InputError`` as
    ``read_audio`` does.
    """
    if isinstance(source, bytes) or not Path(source).is_fifo():
        return source
    with _opened(Path(source), str(source)) as data:
        return data.read()


class _Timeline:
    """Puts stretches of any rate one after another, as 16 kHz mono, and keeps account of what is missing."""

    def __init__(self, channel: int | None = None) -> None:
        self._channel = channel
        self._given = 0  # samples
        self._format: tuple[int, int] | None = None
        self._resampler: Resampler | None = None
        self._lost: list[tuple[float, float]] = []  # where, and for how long
        self._silence_left = _MOST_SILENCE
        self._missing: list[float | None] = []

    def add(self, stretch: Stretch) -> Iterator[Floats]:
        """What there is of it as yet."""
        match stretch:
            case Sound(samples, rate):
                samples = self._of_channel(samples)
                format = (rate, samples.shape[1])
                if not len(samples):
                    yield np.zeros(0, np.float32)
                    return
                if self._format != format:
                    yield from self._flushed()
                    self._format, self._resampler = format, Resampler(*format)
                assert self._resampler is not None
                yield self._counted(self._resampler.feed(samples))
            case Silence(seconds, lost):
                yield from self._flushed()
                lost = lost or seconds > self._silence_left
                seconds = min(seconds, self._silence_left)
                self._silence_left -= seconds
                if lost:
                    self._lost.append((self._given / SAMPLE_RATE, seconds))
                left = round(seconds * SAMPLE_RATE)
                while left > 0:
                    block = np.zeros(min(left, BLOCK), np.float32)
                    left -= len(block)
                    yield self._counted(block)
            case CutShort(missing):
                self._missing.append(missing)

    def end(self) -> Iterator[Floats]:
        """The rest of what was added."""
        yield from self._flushed()

    def warnings(self) -> Iterator[str]:
        """What a reader should know of the whole, once it has ended."""
        given = self._given / SAMPLE_RATE
        if self._lost:
            places = "one place," if len(self._lost) == 1 else f"{len(self._lost)} places, the first"
            yield (
                f"the file is damaged or has a gap in {places} at {self._lost[0][0]:.1f} seconds; "
                f"{max(0.1, sum(seconds for _, seconds in self._lost)):.1f} seconds are silence there"
            )
        if self._missing:
            missing = [seconds for seconds in self._missing if seconds is not None]
            whole = f" of {given + sum(missing):.1f}" if missing else ""
            yield f"the file is cut short; {given:.1f}{whole} seconds were heard"

    def _of_channel(self, samples: Floats) -> Floats:
        if self._channel is None:
            return samples
        if self._channel > samples.shape[1]:
            return np.zeros((len(samples), 1), np.float32)
        return samples[:, self._channel - 1 : self._channel]

    def _flushed(self) -> Iterator[Floats]:
        if self._resampler is not None and self._format is not None:
            yield self._counted(self._resampler.feed(np.zeros((0, self._format[1]), np.float32), last=True))
        self._format = self._resampler = None

    def _counted(self, samples: Floats) -> Floats:
        self._given += len(samples)
        return samples


def _opened(path: Path, name: str) -> BinaryIO:
    """A file open for reading; of a pipe, all that comes out of it."""
    if not name:
        raise InputError("the name of the file is empty")
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: this is a folder; give the audio files in it")
        if stat.S_ISREG(mode):
            return path.open("rb")
        if stat.S_ISFIFO(mode):
            # Opening a pipe that nobody writes to would wait for ever.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
                return io.BytesIO(b"".join(_piped(pipe, name)))
    except FileNotFoundError:
        raise InputError(f"{name}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        # ``ValueError``: a path with a NUL in it.
        raise InputError(f"{name}: the file cannot be opened ({reason(error)})") from None
    raise InputError(
        f"{name}: this is a terminal or a device, and no file or pipe that sound could be read from"
    )


def _piped(pipe: io.RawIOBase, name: str) -> Iterator[bytes]:
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while True:
        # Nobody has opened the other end yet: that too reads as the end, but does not poll as one.
        if not poller.poll(_PATIENCE * 1000):
            raise InputError(f"{name}: nothing came out of this pipe for {_PATIENCE:g} seconds")
        part = pipe.read(1 << 20)
        if part is None:
            continue
        if not part:
            return
        yield part
