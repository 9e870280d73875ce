"""What sound is inside the library, 16 kHz mono samples, float32 in [-1, 1]; and how arrays of any type, rate
and number of channels become that.

What is taken, and what is refused because it would become silence or noise:

| type | scale |
|---|---|
| floats of any size, lists of them | [-1, 1]; up to 8 is overload, beyond it another scale: refused |
| int8, int16, int32 | PCM: full scale is that of the type |
| uint8 | PCM as in 8-bit WAV files, 128 is silence |
| int64, lists of whole numbers, other unsigned | refused: they do not say their scale |
| bool, complex, text, objects | refused |
"""

from operator import index
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.files import reason

if TYPE_CHECKING:
    from soxr import ResampleStream

SAMPLE_RATE = 16_000

Floats = NDArray[np.float32]
# How the channels of a recording are listened to: together, each for itself, or one alone, from 1.
Channels = Literal["mixed", "apart"] | int

_LOWEST_RATE = 1_000
_HIGHEST_RATE = 768_000
_MOST_CHANNELS = 1024
# Float samples lie in [-1, 1]. Decoders and filters overshoot that a little, by 18 dB none of them, and
# what is on the scale of integers is far louder as soon as anyone speaks.
LOUDEST = 8.0
# The types of integers that say their own scale.
_PCM = ("int8", "int16", "int32", "uint8")
# 32-bit samples that reach no further than this hold 16-bit numbers; those that reach less are silence in
# either scale.
_SIXTEEN_BITS = (256, 32_768)
# Channels cancel if their mean has less than this share of the energy that the mean of unrelated ones has.
_CANCELED = 0.1
# Below -80 dB there is nothing to cancel.
_SILENT = 1e-8


class Resampler:
    """A stream of samples of any rate and channel count, made 16 kHz mono.

    Channels are averaged; one that stands against the loudest, as of a cable whose poles are exchanged, is
    turned over first, for the two would cancel. Any cutting of the input gives the same output.
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
        self._mixer = _Mixer(rate, channels) if channels > 1 else None
        self._stream = _resample_stream(rate) if rate != SAMPLE_RATE else None

    def feed(self, samples: NDArray[np.generic], last: bool = False) -> Floats:
        """16 kHz samples (M,) ready after ``samples`` (N,) or (N, channels). Of several channels up to 20 ms
        wait for more, or for the ``last``.

        Raises ``InputError`` for NaN or infinite samples, for types and scales that are no sound (the table
        above), and for another number of channels.
        """
        scaled = _scaled(as_array(samples), self._channels)
        mono = scaled[:, 0] if self._mixer is None else self._mixer.feed(scaled, last)
        if self._stream is None:
            return mono
        return np.asarray(self._stream.resample_chunk(mono, last=last), np.float32)


def from_array(samples: NDArray[np.generic], rate: int) -> Floats:
    """``samples`` (N,) or (N, channels) at ``rate`` Hz as 16 kHz mono float (M,).

    Raises ``InputError`` as ``Resampler.feed`` does, for an array with more channels than samples, and for
    32-bit samples that hold 16-bit numbers.
    """
    samples = as_array(samples)
    if samples.ndim not in (1, 2):
        raise InputError(f"samples must have the shape (N,) or (N, channels), not {samples.shape}")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if channels > len(samples) > 0:
        raise InputError(
            f"samples of the shape {samples.shape} have more channels than samples; "
            "expected (N, channels): transpose them"
        )
    if samples.dtype == np.int32 and samples.size:
        peak = max(int(samples.max()), -int(samples.min()))
        if _SIXTEEN_BITS[0] <= peak <= _SIXTEEN_BITS[1]:
            raise InputError(
                f"32-bit samples that reach no further than {peak} of 2147483648 are all but silent; "
                "give 16-bit samples as int16"
            )
    return Resampler(rate, channels).feed(samples, last=True)


def as_array(samples: object) -> NDArray[np.generic]:
    """``samples`` as an array. Raises ``InputError`` for what cannot be one, such as lists of different
    lengths or a tensor that wants gradients, for bytes, and for lists of whole numbers.
    """
    if isinstance(samples, bytes | bytearray) or (isinstance(samples, memoryview) and samples.itemsize == 1):
        raise InputError("bytes do not say what samples they hold; give np.frombuffer(data, np.int16)")
    try:
        array = np.asarray(samples)
    except Exception as error:  # What an array-like object raises is its own affair.
        raise InputError(f"these are no samples ({reason(error)})") from None
    if isinstance(samples, list | tuple) and array.dtype.kind == "i":
        # Of 64 bits here, of 32 in older numpy on Windows.
        array = array.astype(np.int64)
    return array


def as_channels(text: str) -> Channels:
    """What ``text`` says of channels. Raises ``InputError`` if that is nothing."""
    if text == "mixed":
        return "mixed"
    if text == "apart":
        return "apart"
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise InputError(f"{text!r} is neither mixed nor apart nor a number from 1")
    return int(text)


def _whole(number: object) -> int:
    """A whole number as an ``int``; -1 for anything else, such as None, "16000" or 2.0."""
    try:
        return index(number)  # type: ignore[arg-type]
    except TypeError:
        return -1


def _scaled(samples: NDArray[np.generic], channels: int) -> Floats:
    """Samples (N,) or (N, channels) as floats (N, channels) in [-1, 1]."""
    given = 1 if samples.ndim == 1 else samples.shape[1] if samples.ndim == 2 else None
    if given != channels:
        raise InputError(f"expected samples of {channels} channel(s), got the shape {samples.shape}")
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind in "iu" and samples.dtype.newbyteorder("=").name not in _PCM:
        raise InputError(
            f"whole numbers of type {samples.dtype.name}, as a list of them is, do not say their scale; "
            "give int16 for 16-bit samples, int32 for 32-bit ones, or floats in [-1, 1]"
        )
    if kind == "i":
        scaled = samples.astype(np.float32) / np.float32(2.0 ** (bits - 1))
    elif kind == "u":
        scaled = samples.astype(np.float32) / np.float32(128) - np.float32(1)
    elif kind == "f":
        with np.errstate(over="ignore"):
            scaled = samples.astype(np.float32)
        if not np.isfinite(scaled).all():
            raise InputError("the audio holds NaN or infinite samples; repair or re-encode it")
        if (peak := float(np.abs(scaled).max(initial=0.0))) > LOUDEST:
            raise InputError(
                f"the audio holds samples of {peak:.3g}, and float samples lie in [-1, 1]; "
                "divide them by their full scale (32768 for 16 bits), or give them as int16"
            )
    else:
        raise InputError(f"samples of type {samples.dtype} are no sound; give integers or floats")
    return scaled.reshape(len(scaled), channels)


def _resample_stream(rate: int) -> "ResampleStream":
    from soxr import ResampleStream

    return ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")


class _Mixer:
    """The mean of several channels, each with the sign that keeps them from canceling.

    The signs stay until the mean of a window of 20 ms all but vanishes in the sound of its channels; then
    each channel gets the sign of its correlation with the loudest.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._window = rate // 50
        self._signs = np.ones(channels, np.float32)
        self._rest = np.zeros((0, channels), np.float32)

    def feed(self, samples: Floats, last: bool) -> Floats:
        """The mean (M,) of all whole windows; of the ``last`` samples, of what is left too."""
        samples = np.concatenate([self._rest, samples])
        count = len(samples) // self._window * self._window
        mixed = [self._mixed(samples[:count].reshape(-1, self._window, samples.shape[1]))]
        self._rest = samples[count:]
        if last:
            mixed.append(self._mixed(self._rest[None]))
            self._rest = self._rest[:0]
        return np.concatenate(mixed)

    def _mixed(self, windows: Floats) -> Floats:
        """The mean of windows (W, N, channels) as samples (W N,)."""
        channels = windows.shape[2]
        energy = np.square(windows).mean(axis=(1, 2)) if windows.size else np.zeros(len(windows))
        mixed = windows @ self._signs / np.float32(channels)
        begin = 0
        while True:
            left = np.square(mixed[begin:]).mean(axis=1) * channels if mixed.size else np.zeros(0)
            (found,) = np.nonzero((left < _CANCELED * energy[begin:]) & (energy[begin:] > _SILENT))
            if not len(found):
                return np.asarray(mixed.reshape(-1), np.float32)
            place = begin + int(found[0])
            loudest = windows[place, :, np.square(windows[place]).sum(axis=0).argmax()]
            self._signs = np.where(loudest @ windows[place] < 0, np.float32(-1), np.float32(1))
            mixed[place:] = windows[place:] @ self._signs / np.float32(channels)
            begin = place + 1
