"""A recording as a server reads it: block by block, within limits, and given up when nobody waits for it."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nim4asr.audio.reading import stream_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import SpeechSegment, VoiceActivityConfig, cut_speech
from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex


@dataclass(frozen=True)
class RecordingOptions:
    """What a request asks of a recording's recognition."""

    hints: tuple[str, ...] = ()
    hotwords: "HotwordIndex | None" = None
    voice_activity: VoiceActivityConfig | None = None


@dataclass(frozen=True)
class RecordingLimits:
    """What of a recording is worked on; ``InputError`` beyond."""

    max_duration_s: float = float("inf")
    max_silence_s: float = float("inf")
    """So long nobody may speak."""


class GivenUp(Exception):  # noqa: N818  (nothing went wrong)
    """Nobody waits for the recording any more."""


class Reading:
    """The segments of speech in a recording, held against ``limits`` as they pass; ``seconds`` and
    ``warnings`` tell of what has been read. Raises ``InputError`` beyond the limits, before any work where
    the recording itself tells of that, and ``GivenUp`` once ``given_up`` says so.
    """

    # A file may hold so many seconds of sound, and so many more for each of its bytes: the leanest codecs for
    # speech (0.7 kbit/s) hold half of that. Files of silence hold hours in a few bytes.
    _FREE_S, _S_PER_BYTE = 600.0, 0.02

    def __init__(
        self,
        source: bytes | Path,
        limits: RecordingLimits,
        voice_activity: VoiceActivityConfig,
        given_up: Callable[[], bool],
    ) -> None:
        self._source, self._limits, self._given_up = source, limits, given_up
        self._voice_activity = voice_activity
        self._bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
        self._samples = self._spoken = 0
        self.warnings: list[str] = []
        if (told := _told_seconds(source)) is not None:
            self._check(told)

    @property
    def seconds(self) -> float:
        """How much has been read."""
        return self._samples / SAMPLE_RATE

    def __iter__(self) -> Iterator[SpeechSegment]:
        for segment in cut_speech(self._blocks(), self._voice_activity):
            self._spoken = self._samples
            yield segment

    def _blocks(self) -> Iterator[Floats]:
        for block in stream_audio(self._source, self.warnings.append):
            if self._given_up():
                raise GivenUp
            self._samples += len(block)
            self._check(self.seconds)
            if self.seconds - self._spoken / SAMPLE_RATE > self._limits.max_silence_s:
                raise InputError(
                    f"nobody speaks for over {self._limits.max_silence_s:g} s; cut the recording there"
                )
            yield block

    def _check(self, seconds: float) -> None:
        if seconds > self._limits.max_duration_s:
            raise InputError(
                f"the recording is longer than the {self._limits.max_duration_s:g} s allowed here"
            )
        if seconds > self._FREE_S + self._S_PER_BYTE * self._bytes:
            raise InputError(f"{seconds:.0f} s of sound in {self._bytes} bytes are no speech")


def _told_seconds(source: bytes | Path) -> float | None:
    """How long a recording is by its own header; None if it does not say, or libsndfile cannot read it."""
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.LibsndfileError, OSError):
        return None
    # Streams that were written without knowing their length have the largest number there is.
    return info.frames / info.samplerate if 0 < info.frames < 1 << 48 else None
