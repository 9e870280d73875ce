"""What libsndfile decodes, which its wheel brings along: wav and its relatives, FLAC, MP3, Vorbis, Opus."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from nim4asr.audio.containers.stretches import (
    BLOCK,
    MISSING_S,
    CutShort,
    NotAudioError,
    Sound,
    Spliced,
    Stretch,
    bounded,
)

# What libsndfile notes of the chunk that holds the samples. It says of other numbers too what they should be.
_TOO_SHORT = re.compile(
    r"^ *(?:data|SSND|Data Size|riff|Riff size) +: (\d+) \(should be (\d+)\)", re.MULTILINE
)
# A length in a header that says no more than that it was not known when the file was begun.
_UNKNOWN_LENGTH = 0xFFFFFFFF - 1024


def sndfile_sounds(file: Spliced, block: int = BLOCK, counts: bool = True) -> Iterator[Stretch]:
    """The sound of ``file``, ``block`` samples at a time, by whatever in libsndfile knows it, and whether it
    ends too early, if its header ``counts`` the samples.

    Raises ``NotAudioError`` where it cannot be decoded, or holds no samples.
    """
    import soundfile

    try:
        with _sequential()(file) as sound:
            size = max(1, block // sound.channels)
            heard = 0
            while True:
                samples = sound.read(size, dtype="float32", always_2d=True)
                heard += len(samples)
                yield Sound(samples, sound.samplerate)
                if len(samples) < size:
                    break
            if not heard:
                raise NotAudioError("the file holds no samples")
            missing = _missing(sound.extra_info, heard, sound.frames) / sound.samplerate if counts else 0.0
            if missing > MISSING_S:
                yield CutShort(missing)
    except soundfile.LibsndfileError as error:
        raise NotAudioError(str(error.error_string)) from None


def lossy_sounds(file: Spliced) -> Iterator[Stretch]:
    """``sndfile_sounds`` of lossy audio, in bounds, and without a count of samples, which is often wrong."""
    for stretch in sndfile_sounds(file, counts=False):
        yield Sound(bounded(stretch.samples), stretch.rate) if isinstance(stretch, Sound) else stretch


def _missing(log: str, heard: int, frames: int) -> float:
    """How many samples of each channel the header has beyond those that were ``heard``."""
    for text_said, text_is in reversed(_TOO_SHORT.findall(log)):
        said, there = int(text_said), int(text_is)
        if 0 < there < said < _UNKNOWN_LENGTH:
            return heard * (said / there - 1)
    return max(0.0, frames - heard)


def _sequential() -> Callable[[Any], Any]:
    import soundfile

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]
        """A file that is read from its beginning to its end.

        Of one that could be sought in, soundfile seeks behind each block, to where it is already; in damaged
        FLAC and in some Opus that fails.
        """

        def seekable(self) -> bool:
            return False

    return Sequential
