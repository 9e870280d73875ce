"""uvicorn around the application, with a drain: at SIGTERM nothing new is admitted, and what is open may
end.
"""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from nim4asr.errors import InputError
from nim4asr.files import reason
from nim4asr.serving.state import State

_POLL_S = 0.1


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
    """Stops when the last open session has ended, or the drain is over."""

    def __init__(self, config: uvicorn.Config, state: State, drain_s: float) -> None:
        super().__init__(config)
        self._state, self._drain_s = state, drain_s
        self._drain: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one stops at once."""
        if self._state.draining.is_set():
            super().handle_exit(sig, frame)
            return
        self._state.draining.set()
        # Kept: a task that nobody holds may be collected.
        self._drain = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        waited = 0.0
        worker = self._state.worker
        while waited < self._drain_s and (worker.live_streams or worker.under_way):
            await asyncio.sleep(_POLL_S)
            waited += _POLL_S
        self.should_exit = True


def server(app: Starlette, listening: Listening) -> Server:
    """A server of ``app`` that has not begun to listen. Raises ``InputError`` for a bad certificate."""
    # uvicorn calls a WebSocket that is refused before the handshake an error of the application.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "without completing handshake" not in record.msg
    )
    config = uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        ssl_certfile=None if listening.certificate is None else str(listening.certificate),
        ssl_keyfile=None if listening.private_key is None else str(listening.private_key),
        # Sound does not compress, and what cannot be compressed cannot be a bomb.
        ws_per_message_deflate=False,
        log_level="warning",
        access_log=False,
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
    return Server(config, app.state.nim4, listening.drain_s)
