"""uvicorn around the application, with a drain: at SIGTERM nothing new is admitted, what is open may go on
for a while, and then ends with its last text.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from nim4asr.errors import InputError
from nim4asr.files import reason
from nim4asr.serving.connections import Config, most_connections
from nim4asr.serving.lifecycle import Phase
from nim4asr.serving.logs import SERVER
from nim4asr.serving.state import State

_POLL_S = 0.05
# Sessions that are ended end by themselves, when they have their text or it does not come on; at the latest
# by then.
_LONGEST_S = 600.0
# The largest message of a client: 15 MiB of sound in base64, and what stands around it.
_MOST_MESSAGE = (15 << 20) * 4 // 3 + (64 << 10)
# So often a lack of descriptors is told, in seconds.
_QUIET_S = 60.0


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and how it stops."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    """With ``private_key``: speak TLS."""
    private_key: Path | None = None
    drain_s: float = 30.0
    """Open sessions may go on for so long after SIGTERM."""


class Server(uvicorn.Server):
    """Stops when the last open session has ended, or the drain is over and all have been ended."""

    def __init__(self, config: uvicorn.Config, state: State, drain_s: float) -> None:
        super().__init__(config)
        self._state, self._drain_s = state, drain_s
        self._drain: asyncio.Task[None] | None = None
        self._quiet_until = 0.0

    async def startup(self, sockets: Any = None) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().set_exception_handler(self._loop_failed)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one stops at once."""
        if self._state.lifecycle.phase is not Phase.SERVING:
            super().handle_exit(sig, frame)
            return
        self._state.lifecycle.drain()
        loop = asyncio.get_running_loop()
        # By way of the loop, which may be asleep; and kept, for a task that nobody holds may be collected.
        loop.call_soon_threadsafe(lambda: setattr(self, "_drain", loop.create_task(self._drained())))

    async def _drained(self) -> None:
        await self._until_idle(self._drain_s)
        self._state.lifecycle.close()
        await self._until_idle(_LONGEST_S)
        self.should_exit = True

    async def _until_idle(self, timeout: float) -> None:
        end, admission = time.monotonic() + timeout, self._state.admission
        while (admission.sessions or admission.recordings) and time.monotonic() < end:
            await asyncio.sleep(_POLL_S)

    def _loop_failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "out of system resource" not in context.get("message", ""):
            loop.default_exception_handler(context)
        elif time.monotonic() >= self._quiet_until:
            # asyncio says so for each place in its queue, some thousand times a second.
            self._quiet_until = time.monotonic() + _QUIET_S
            SERVER.error("no descriptors are left for new connections (ulimit -n); trying again")


def server(app: Starlette, listening: Listening) -> Server:
    """A server of ``app`` that has not begun to listen. Raises ``InputError`` for a bad certificate."""
    logging.getLogger("uvicorn.error").addFilter(_is_error)
    state: State = app.state.nim4
    config = Config(
        app,
        max_connections=most_connections(state.config.max_recordings + state.config.max_waiting),
        host=listening.host,
        port=listening.port,
        ssl_certfile=None if listening.certificate is None else str(listening.certificate),
        ssl_keyfile=None if listening.private_key is None else str(listening.private_key),
        # Sound does not compress, and what cannot be compressed cannot be a bomb.
        ws_per_message_deflate=False,
        ws_max_size=_MOST_MESSAGE,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    try:
        config.load()
    except OSError as error:
        # ``ssl.SSLError`` is one.
        raise InputError(
            f"{listening.certificate}, {listening.private_key}: these are no certificate and its key "
            f"({reason(error)})"
        ) from None
    return Server(config, state, listening.drain_s)


def _is_error(record: logging.LogRecord) -> bool:
    """Whether what uvicorn calls an error is one: a WebSocket that is refused before the handshake is not,
    nor is a request that is none.
    """
    message = record.getMessage()
    return "without completing handshake" not in message and message != "Invalid HTTP request received."
