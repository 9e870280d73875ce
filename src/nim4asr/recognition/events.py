"""What a live stream says as it listens. All times are seconds from the stream's start."""

from dataclasses import dataclass

from nim4asr.audio.voice_activity import EndReason
from nim4asr.recognition.result import Segment


@dataclass(frozen=True)
class SpeechStarted:
    """Someone began to speak at ``time``, padding included."""

    time: float


@dataclass(frozen=True)
class Partial:
    """What the segment holds so far, heard up to ``time``: ``stable`` + ``volatile``.

    Within a segment each ``stable`` begins with the one before it. The final may differ from it, unless the
    stream was opened without a second pass.
    """

    time: float
    stable: str
    volatile: str


@dataclass(frozen=True)
class SpeechEnded:
    """The segment ended at ``time``. Its ``Final`` follows."""

    time: float
    reason: EndReason


@dataclass(frozen=True)
class Final:
    """What was said in the segment, which ended at ``time``."""

    time: float
    segment: Segment


@dataclass(frozen=True)
class Marked:
    """Everything fed before ``StreamHandle.mark(token)`` has been recognized."""

    token: object


@dataclass(frozen=True)
class Failed:
    """The stream has ended by an ``error``, which is its own: others of its engine go on."""

    error: Exception


Event = SpeechStarted | Partial | SpeechEnded | Final | Marked | Failed
