"""What a server allows and offers."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ServerConfig:
    """Limits and access of a server; what is over a limit is refused with a status and a sentence."""

    model_name: str = "nano"
    """The name of the model, in ``/v1/models`` and in requests."""
    aliases: tuple[str, ...] = ()
    """Other names for it, for clients with a fixed list of models."""
    keys: frozenset[str] = frozenset()
    """API keys; without any, everyone may use the server."""
    final_context: Literal["chunks", "whole"] = "chunks"
    """What the encoder sees for the finals of live speech (``StreamingConfig.final_context``)."""
    max_streams: int = 48
    """Live streams at a time."""
    max_recordings: int = 2
    """Recordings that are read at a time; their segments share the engine's steps."""
    max_waiting: int = 8
    """Recordings that wait for their turn."""
    max_upload_bytes: int = 25 << 20
    """The longest body of a request."""
    max_duration_s: float = 4 * 3600.0
    """The longest recording."""
    max_session_s: float = 3600.0
    """The longest live session."""
    max_backlog_s: float = 30.0
    """A client is not read from while so much of its sound waits to be recognized."""
    audio_s_per_minute: float = 0.0
    """Seconds of sound that a key, or an address, may send in a minute; 0 is any."""
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may use the server; ``*`` is all."""
    log_text: bool = False
    """Write recognized text into the log."""

    def __post_init__(self) -> None:
        counts = (self.max_streams, self.max_recordings, self.max_upload_bytes)
        if min(counts) < 1 or self.max_waiting < 0:
            raise ValueError("a server needs room for one stream, one recording and one byte")
        if (
            min(self.max_duration_s, self.max_session_s, self.max_backlog_s) <= 0
            or self.audio_s_per_minute < 0
        ):
            raise ValueError("the limits of a server must be positive")

    def is_model(self, name: str) -> bool:
        """Whether ``name`` is the model's, or one of its aliases."""
        return name == self.model_name or name in self.aliases
