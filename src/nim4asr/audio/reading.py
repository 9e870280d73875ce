"""Sound in: any file, bytes or array to 16 kHz mono samples in [-1, 1].

wav, flac, mp3, ogg and opus are read by libsndfile, which its wheel brings along; m4a, mp4, aac and webm by
PyAV (``pip install 'nim4asr[containers]'``), which brings its own FFmpeg libraries.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.errors import InputError

if TYPE_CHECKING:
    from soxr import ResampleStream

Source = Path | str | bytes

# Read about this many samples of one channel at a time, so that hours of many channels fit in memory.
_BLOCK = 1 << 18
_LOWEST_RATE = 1_000
_HIGHEST_RATE = 768_000


class Resampler:
    """A stream of samples of any rate and channel count, made 16 kHz mono.

    Channels are averaged. Any cutting of the input gives the same output.
    """

    def __init__(self, rate: int, channels: int = 1) -> None:
        if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
            raise InputError(
                f"a sample rate of {rate} Hz is not speech audio; "
                f"expected {_LOWEST_RATE} to {_HIGHEST_RATE} Hz"
            )
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


def read_audio(source: Source) -> Floats:
    """All samples (N,) of an audio file, given by its path or its bytes, as 16 kHz mono.

    Raises ``InputError``, naming the file, if it is missing, empty, cut short or no sound.
    """
    blocks = list(stream_audio(source))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def from_array(samples: NDArray[np.generic], rate: int) -> Floats:
    """``samples`` (N,) or (N, channels) of any type and rate as 16 kHz mono float (M,)."""
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2):
        raise InputError(f"samples must have the shape (N,) or (N, channels), not {samples.shape}")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return Resampler(rate, channels).feed(samples, last=True)


def stream_audio(source: Source) -> Iterator[Floats]:
    """The samples of an audio file as 16 kHz mono, block by block."""
    import soundfile

    name = f"{len(source)} bytes of audio" if isinstance(source, bytes) else str(source)
    data: BinaryIO
    if isinstance(source, bytes):
        data = io.BytesIO(source)
    else:
        path = Path(source)
        if path.is_dir():
            raise InputError(f"{name}: this is a folder; give the audio files in it")
        try:
            data = path.open("rb")
        except FileNotFoundError:
            raise InputError(f"{name}: there is no such file") from None
        except OSError as error:
            raise InputError(f"{name}: the file cannot be opened ({error.strerror})") from None
    with data:
        head = data.read(16)
        data.seek(0)
        if not head:
            raise InputError(f"{name}: the file is empty")
        try:
            if _is_container(head):
                yield from _container_blocks(data, name)
            elif head.startswith(b"OggS"):
                yield from _ogg_blocks(data, name)
            else:
                yield from _soundfile_blocks(data)
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


def _soundfile_blocks(data: BinaryIO) -> Iterator[Floats]:
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


def _ogg_blocks(data: BinaryIO, name: str) -> Iterator[Floats]:
    """As libsndfile reads it, and from where it gives up as FFmpeg does, if that is there.

    libsndfile 1.2 calls some sound Opus files malformed in their middle.
    """
    import soundfile

    given = 0
    try:
        for block in _soundfile_blocks(data):
            given += len(block)
            yield block
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
    for block in _container_blocks(data, name):
        skipped = min(given, len(block))
        given -= skipped
        yield block[skipped:]


def _is_container(head: bytes) -> bool:
    """Whether ``head`` opens an MPEG-4 file (m4a, mp4), a Matroska file (webm) or an AAC stream."""
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or adts


def _container_blocks(data: BinaryIO, name: str) -> Iterator[Floats]:
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
            for frame in container.decode(container.streams.audio[0]):
                for resampled in resampler.resample(frame):
                    yield _mono(resampled.to_ndarray().reshape(-1), 1)
            for resampled in resampler.resample(None):
                yield _mono(resampled.to_ndarray().reshape(-1), 1)
    except av.error.FFmpegError as error:
        raise InputError(f"{name}: not audio that can be read ({error.strerror})") from None


def _mono(samples: NDArray[np.generic], channels: int) -> Floats:
    samples = np.asarray(samples)
    given = 1 if samples.ndim == 1 else samples.shape[1] if samples.ndim == 2 else None
    if given != channels:
        raise InputError(f"expected samples of {channels} channel(s), got the shape {samples.shape}")
    if samples.dtype.kind == "i":
        scaled = samples.astype(np.float32) / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    elif samples.dtype.kind == "u":
        half = np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
        scaled = samples.astype(np.float32) / half - np.float32(1.0)
    elif samples.dtype.kind == "f":
        scaled = samples.astype(np.float32)
    else:
        raise InputError(f"samples of type {samples.dtype} are no sound; give integers or floats")
    if not np.isfinite(scaled).all():
        raise InputError("the audio holds NaN or infinite samples; repair or re-encode it")
    return scaled if scaled.ndim == 1 else scaled.mean(axis=1, dtype=np.float32)
