"""Sound in: any file, bytes or array to 16 kHz mono samples in [-1, 1].

wav, flac, mp3, ogg and opus are read by libsndfile, which its wheel brings along; m4a, mp4, aac and webm by
PyAV (``pip install 'nim4asr[containers]'``), which brings its own FFmpeg libraries.
"""

import io
import os
import re
import select
import stat
from collections.abc import Callable, Iterator
from itertools import chain
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.files import reason

if TYPE_CHECKING:
    from soxr import ResampleStream

Source = Path | str | bytes
Warn = Callable[[str], None]

# Read about this many samples of one channel at a time, so that hours of many channels fit in memory.
_BLOCK = 1 << 18
_LOWEST_RATE = 1_000
_HIGHEST_RATE = 768_000
_MOST_CHANNELS = 1024
# Float samples lie in [-1, 1]; some programs write them on the scale of 16-bit integers. Louder is damage.
_LOUDEST = 65_536.0
# So long a pipe may stay silent, in seconds.
_PATIENCE = 30.0
# A length in a header that says no more than that it was not known when the file was begun.
_UNKNOWN_LENGTH = 0xFFFFFFFF
_TOO_SHORT = re.compile(r": (\d+) \(should be (\d+)\)")
# What is missing of a file that was cut short, in seconds; less is rounding of its format.
_MISSING = 0.2


class Resampler:
    """A stream of samples of any rate and channel count, made 16 kHz mono.

    Channels are averaged. Any cutting of the input gives the same output.
    """

    def __init__(self, rate: int, channels: int = 1) -> None:
        if not _LOWEST_RATE <= _whole(rate) <= _HIGHEST_RATE:
            raise InputError(
                f"a sample rate of {rate!r} Hz is not speech audio; "
                f"expected a whole number from {_LOWEST_RATE} to {_HIGHEST_RATE} Hz"
            )
        if not 1 <= _whole(channels) <= _MOST_CHANNELS:
            raise InputError(f"{channels!r} is not a number of channels; expected a whole number from 1")
        self._channels = channels
        self._stream = _resample_stream(rate) if rate != SAMPLE_RATE else None

    def feed(self, samples: NDArray[np.generic], last: bool = False) -> Floats:
        """16 kHz samples (M,) ready after ``samples`` (N,) or (N, channels); integers are PCM.

        Raises ``InputError`` for NaN or infinite samples and for another number of channels.
        """
        mono = _mono(samples, self._channels)
        if self._stream is None:
            return mono
        return np.asarray(self._stream.resample_chunk(mono, last=last), np.float32)


def _whole(number: object) -> int:
    """A whole number as an ``int``; -1 for anything else, such as None, "16000" or 2.0."""
    try:
        return index(number)  # type: ignore[arg-type]
    except TypeError:
        return -1


def read_audio(source: Source) -> Floats:
    """All samples (N,) of an audio file, given by its path or its bytes, as 16 kHz mono.

    Raises ``InputError``, naming the file, if it is missing, empty, cut short or no sound.
    """
    blocks = list(stream_audio(source))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def from_array(samples: NDArray[np.generic], rate: int) -> Floats:
    """``samples`` (N,) or (N, channels) of any type and rate as 16 kHz mono float (M,)."""
    samples = as_array(samples)
    if samples.ndim not in (1, 2):
        raise InputError(f"samples must have the shape (N,) or (N, channels), not {samples.shape}")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return Resampler(rate, channels).feed(samples, last=True)


def as_array(samples: object) -> NDArray[np.generic]:
    """``samples`` as an array. Raises ``InputError`` for what is not an array, such as lists of different
    lengths.
    """
    try:
        return np.asarray(samples)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"these are no samples ({reason(error)})") from None


def stream_audio(source: Source, warn: Warn | None = None) -> Iterator[Floats]:
    """The samples of an audio file as 16 kHz mono, block by block.

    ``source`` may be a pipe, which is read to its end first. ``warn`` is told in a sentence if the file ends
    before its own header says. Raises ``InputError`` as ``read_audio`` does.
    """
    import soundfile

    name = f"{len(source)} bytes of audio" if isinstance(source, bytes) else str(source)
    data: BinaryIO
    if isinstance(source, bytes):
        data = io.BytesIO(source)
    else:
        data = _opened(Path(source), name)

    def cut_short(given: float, said: float | None = None) -> None:
        if warn is not None:
            whole = "" if said is None else f" of {said:.1f}"
            warn(f"{name}: the file is cut short; {given:.1f}{whole} seconds were heard")

    with data:
        try:
            head = data.read(16)
            data.seek(0)
            if not head:
                raise InputError(f"{name}: the file is empty")
            if _is_container(head):
                yield from _container_blocks(data, name, cut_short)
            elif head.startswith(b"OggS"):
                yield from _ogg_blocks(data, name, cut_short)
            else:
                yield from _soundfile_blocks(data, cut_short)
        except OSError as error:
            raise InputError(f"{name}: the file cannot be read ({reason(error)})") from None
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"{name}: not audio that can be read, or cut short ({error.error_string})"
            ) from None
        except InputError as error:
            message = str(error)
            raise InputError(message if message.startswith(name) else f"{name}: {message}") from None


def _resample_stream(rate: int) -> "ResampleStream":
    from soxr import ResampleStream

    return ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")


def _opened(path: Path, name: str) -> BinaryIO:
    """A file open for reading; of a pipe, all that comes out of it."""
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


def _soundfile_blocks(data: BinaryIO, cut_short: Callable[[float, float | None], None]) -> Iterator[Floats]:
    import soundfile

    with soundfile.SoundFile(data) as file:
        if file.frames == 0:
            raise InputError("the file holds no samples")
        resampler = Resampler(file.samplerate, file.channels)
        size = max(1, _BLOCK // file.channels)
        heard = 0
        while True:
            block = file.read(size, dtype="float32", always_2d=True)
            heard += len(block)
            yield resampler.feed(block, last=len(block) < size)
            if len(block) < size:
                break
        if heard == 0:
            raise InputError("the file holds no samples")
        rate = file.samplerate
        lengths = [(int(said), int(is_)) for said, is_ in _TOO_SHORT.findall(file.extra_info)]
        told = [said / is_ for said, is_ in lengths if 0 < is_ < said < _UNKNOWN_LENGTH - 1024]
        if file.frames - heard > _MISSING * rate:
            cut_short(heard / rate, file.frames / rate)
        elif told:
            cut_short(heard / rate, heard / rate * told[-1])


def _ogg_blocks(
    data: BinaryIO, name: str, cut_short: Callable[[float, float | None], None]
) -> Iterator[Floats]:
    """As libsndfile reads it, and from where it gives up as FFmpeg does, if that is there.

    libsndfile 1.2 calls some sound Opus files malformed in their middle.
    """
    import soundfile

    given = 0
    try:
        for block in _soundfile_blocks(data, cut_short):
            given += len(block)
            yield block
        if not _ogg_is_whole(data):
            cut_short(given / SAMPLE_RATE, None)
        return
    except soundfile.LibsndfileError:
        try:
            import av  # noqa: F401
        except ImportError:
            raise InputError(
                f"{name}: not audio that can be read, or an Opus file that libsndfile cannot; "
                "pip install 'nim4asr[containers]' reads more of them"
            ) from None
    data.seek(0)
    for block in _container_blocks(data, name, cut_short):
        skipped = min(given, len(block))
        given -= skipped
        yield block[skipped:]


def _ogg_is_whole(data: BinaryIO) -> bool:
    """Whether the last page of an Ogg file says that it is the last (RFC 3533: bit 2 of the header's
    type).
    """
    # A page has at most 65,307 bytes.
    data.seek(0, os.SEEK_END)
    data.seek(max(0, data.tell() - 65_307))
    rest = data.read()
    last = rest.rfind(b"OggS")
    return last >= 0 and len(rest) > last + 5 and bool(rest[last + 5] & 4)


def _is_container(head: bytes) -> bool:
    """Whether ``head`` opens an MPEG-4 file (m4a, mp4), a Matroska file (webm) or an AAC stream."""
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or adts


def _container_blocks(
    data: BinaryIO, name: str, cut_short: Callable[[float, float | None], None]
) -> Iterator[Floats]:
    try:
        import av
        import av.error
    except ImportError:
        raise InputError(
            f"{name}: m4a, mp4, aac and webm need one more library: pip install 'nim4asr[containers]'"
        ) from None
    try:
        with av.open(data) as container:
            if not container.streams.audio:
                raise InputError(f"{name}: the file has no sound track")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            given = 0
            for frame in chain(container.decode(container.streams.audio[0]), (None,)):
                for resampled in resampler.resample(frame):
                    block = _mono(resampled.to_ndarray().reshape(-1), 1)
                    given += len(block)
                    yield block
            # The container's length is that of its longest stream, which need not be the sound.
            stream = container.streams.audio[0]
            said = float(stream.duration * stream.time_base) if stream.duration else 0.0
            if said - given / SAMPLE_RATE > 2 * _MISSING:
                cut_short(given / SAMPLE_RATE, said)
    except InputError:
        raise
    except (av.error.FFmpegError, ValueError) as error:
        # ``ValueError``, and ``UnicodeDecodeError`` among them: what PyAV makes of damaged headers.
        raise InputError(f"{name}: not audio that can be read ({reason(error)})") from None


def _mono(samples: NDArray[np.generic], channels: int) -> Floats:
    samples = as_array(samples)
    given = 1 if samples.ndim == 1 else samples.shape[1] if samples.ndim == 2 else None
    if given != channels:
        raise InputError(f"expected samples of {channels} channel(s), got the shape {samples.shape}")
    if samples.dtype.kind == "i":
        scaled = samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    elif samples.dtype.kind == "u":
        half = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
        scaled = samples.astype(np.float32) / half - np.float32(1.0)
    elif samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            scaled = samples.astype(np.float32)
    else:
        raise InputError(f"samples of type {samples.dtype} are no sound; give integers or floats")
    if not np.isfinite(scaled).all():
        raise InputError("the audio holds NaN or infinite samples; repair or re-encode it")
    if scaled.dtype.kind == "f" and (peak := float(np.abs(scaled).max(initial=0.0))) > _LOUDEST:
        raise InputError(
            f"the audio holds samples of {peak:.3g}, and float samples lie in [-1, 1]; re-encode it"
        )
    return scaled if scaled.ndim == 1 else scaled.mean(axis=1, dtype=np.float32)
