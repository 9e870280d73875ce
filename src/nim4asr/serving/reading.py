"""A recording as a server reads it: block by block, within limits, and given up when nobody waits for it."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nim4asr.audio.containers.signatures import told_seconds
from nim4asr.audio.level import LevelMeter
from nim4asr.audio.reading import stream_audio
from nim4asr.audio.samples import SAMPLE_RATE, Channels, Floats
from nim4asr.audio.voice_activity import SpeechSegment, VoiceActivityConfig, cut_speech
from nim4asr.errors import InputError
from nim4asr.recognition.offline import chosen_channels

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex


@dataclass(frozen=True)
class RecordingOptions:
    """What a request asks of a recording's recognition."""

    hints: tuple[str, ...] = ()
    hotwords: "HotwordIndex | None" = None
    voice_activity: VoiceActivityConfig | None = None
    channels: Channels = "mixed"


@dataclass(frozen=True)
class RecordingLimits:
    """What of a recording is worked on; ``InputError`` beyond."""

    max_duration_s: float = float("inf")
    max_silence_s: float = float("inf")
    """So long nobody may speak; where each channel is listened to for itself, in the others somebody may."""
    max_channels: int = 16
    """So many channels are listened to, each for itself."""


class GivenUp(Exception):  # noqa: N818  (nothing went wrong)
    """Nobody waits for the recording any more."""


class Reading:
    """The segments of speech in a recording, or in one ``channel`` of it, held against ``limits`` as they
    pass; ``seconds``, ``level`` in dBFS and ``warnings`` tell of what has been read. Raises ``InputError``
    beyond the limits, before any work where the recording itself tells of that, and ``GivenUp`` once
    ``given_up`` says so.
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
        channel: int | None = None,
        of_channels: int = 1,
    ) -> None:
        self._source, self._limits, self._given_up = source, limits, given_up
        # Each of several channels is as much work as a recording of one.
        self.channel, self._of_channels = channel, of_channels
        self._voice_activity = voice_activity
        self._bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
        self._samples = self._spoken = 0
        self._meter = LevelMeter()
        self.warnings: list[str] = []
        if (told := _told_seconds(source)) is not None:
            self.check(told)
        elif (told := _told_by_container(source)) is not None and told <= self._most_seconds:
            # More than that is damage of the header.
            self.check(told)

    @property
    def seconds(self) -> float:
        """How much has been read."""
        return self._samples / SAMPLE_RATE

    @property
    def level(self) -> float:
        """How loud that was."""
        return self._meter.level

    def __iter__(self) -> Iterator[SpeechSegment]:
        for segment in cut_speech(self._blocks(), self._voice_activity):
            self._spoken = self._samples
            yield segment

    def _blocks(self) -> Iterator[Floats]:
        for block in stream_audio(self._source, self.warnings.append, channel=self.channel):
            self._samples += len(block)
            self._meter.add(block)
            self.check(self.seconds)
            if self.seconds - self._spoken / SAMPLE_RATE > self._limits.max_silence_s:
                raise InputError(
                    f"nobody speaks for over {self._limits.max_silence_s:g} s; cut the recording there"
                )
            yield block

    def check(self, seconds: float) -> None:
        """Go on, after ``seconds`` of sound."""
        if self._given_up():
            raise GivenUp
        longest = self._limits.max_duration_s / self._of_channels
        if seconds > longest:
            each = f" for {self._of_channels} channels" if self._of_channels > 1 else ""
            raise InputError(f"the recording is longer than the {longest:g} s allowed here{each}")
        if seconds > self._most_seconds:
            raise InputError(f"{seconds:.0f} s of sound in {self._bytes} bytes are no speech")

    @property
    def _most_seconds(self) -> float:
        return (self._FREE_S + self._S_PER_BYTE * self._bytes) / self._of_channels


def readings(
    source: bytes | Path,
    options: RecordingOptions,
    limits: RecordingLimits,
    voice_activity: VoiceActivityConfig,
    given_up: Callable[[], bool],
) -> list[Reading]:
    """A reading of each channel that is to be listened to, the first of which has the ``warnings`` of all.
    Raises what a ``Reading`` raises.
    """
    whole = Reading(source, limits, voice_activity, given_up)
    _, chosen = chosen_channels(source, options.channels, "", whole.warnings.append, whole.check)
    if list(chosen) == [None]:
        return [whole]
    if len(chosen) > limits.max_channels:
        raise InputError(
            f"the recording has {len(chosen)} channels; at most {limits.max_channels} are listened to, each "
            "for itself"
        )
    if len(chosen) > 1:
        limits = replace(limits, max_silence_s=math.inf)
    count = len(chosen)
    return [Reading(source, limits, voice_activity, given_up, channel, count) for channel in chosen]


def _told_seconds(source: bytes | Path) -> float | None:
    """How long a recording is by its own header; None if it does not say, or libsndfile cannot read it."""
    import soundfile

    try:
        info = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else str(source))
    except (soundfile.LibsndfileError, OSError):
        return None
    # Streams that were written without knowing their length have the largest number there is.
    return info.frames / info.samplerate if 0 < info.frames < 1 << 48 else None


def _told_by_container(source: bytes | Path) -> float | None:
    """The same of what FFmpeg reads."""
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as data:
            return told_seconds(data)
    except OSError:
        return None
