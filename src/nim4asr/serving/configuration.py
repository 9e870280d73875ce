"""What a server allows and offers."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from nim4asr.serving.keys import Key

# The names by which a browser on this machine calls a server on it.
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
ANY = "*"
# Scheme, host, and a port that is not the scheme's own; no path, not even a slash.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")


@dataclass(frozen=True)
class ServerConfig:
    """Limits and access of a server; what is over a limit is refused with a status and a sentence."""

    model_name: str = "nano"
    """The name of the first model, in ``/v1/models`` and in requests."""
    aliases: tuple[str, ...] = ()
    """Other names for it, for clients with a fixed list of models."""
    unload_s: float = 600.0
    """A model that is not the first is unloaded when nobody has used it for so long."""
    keys: Collection[Key | str] = field(default=(), repr=False)
    """API keys; without any, everyone who reaches the server may use it."""
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """Without keys: the names by which the server may be called (the ``Host`` of a request); ``*`` is any. A
    page of another site that has its own name point to this machine is refused by this."""
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may use the server, beside its own; ``*`` is all."""
    final_context: Literal["chunks", "whole"] = "chunks"
    """What the encoder sees for the finals of live speech (``StreamingConfig.final_context``)."""
    max_streams: int = 48
    """Live sessions at a time, those that have said nothing yet among them."""
    max_recordings: int = 2
    """Recordings that are read at a time; their segments share the engine's steps."""
    max_waiting: int = 8
    """Recordings that wait for their turn."""
    client_share: float = 0.75
    """The share of sessions and of recordings that one key, or one address of another machine, may have at a
    time; keys may have limits of their own."""
    max_late_s: float = 3.0
    """Nothing new is admitted while live speech waits longer than this beyond its own pace."""
    max_upload_bytes: int = 25 << 20
    """The longest body of a request."""
    max_duration_s: float = 4 * 3600.0
    """The longest recording."""
    max_silence_s: float = 3600.0
    """A recording in which nobody speaks for so long is given up."""
    max_session_s: float = 3600.0
    """The longest live session."""
    max_idle_s: float = 600.0
    """A live session whose client sends nothing for so long is ended."""
    max_stall_s: float = 30.0
    """A client that does not read what it is sent for so long is let go."""
    max_backlog_s: float = 30.0
    """A client is not read from while so much of its sound waits to be recognized."""
    finish_s: float = 60.0
    """A session that is ended gets the text of what was said, for as long as some of it is recognized in so
    much time."""
    audio_s_per_minute: float = 0.0
    """Seconds of sound that a key, or an address, may send in a minute; 0 is any."""

    def __post_init__(self) -> None:
        counts = (self.max_streams, self.max_recordings, self.max_upload_bytes)
        if min(counts) < 1 or self.max_waiting < 0:
            raise ValueError("a server needs room for one stream, one recording and one byte")
        times = (
            self.max_duration_s, self.max_silence_s, self.max_session_s, self.max_idle_s, self.max_stall_s,
            self.max_backlog_s, self.max_late_s, self.finish_s, self.unload_s,
        )  # fmt: skip
        if not all(time > 0 for time in times) or not self.audio_s_per_minute >= 0:
            raise ValueError("the limits of a server must be positive")
        for origin in self.cors_origins:
            if origin not in (ANY, "null") and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"an origin is as browsers write it, https://example.com, not {origin!r}")
        if not 0 < self.client_share <= 1:
            raise ValueError("a client's share lies between 0 and 1")
