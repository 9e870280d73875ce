"""uvicorn's connections with what it leaves open: a bound on their number, and on how long each may do
nothing.

- A request's head must be there in time, however slowly it dribbles in, and so must the next one's.
- A client that does not read what it is sent is cut off, so is one that does not answer pings, and a socket
  that is closed is not waited for without end.
- There are never more connections than the process has descriptors for. The one that has waited longest
  without a request makes room for a new one, so that those who hold connections cannot keep others out.
"""

import asyncio
import os
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# A request's head, and a client that is to read, have so long; a connection that is closed, too.
_HEAD_S = 15.0
_STALL_S = 30.0
_LINGER_S = 15.0
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n"
    b"connection: close\r\n\r\n"
    b'{"error":{"message":"too many connections; try again later","type":"server_error","param":null,'
    b'"code":"server_busy"}}'
)
# In a WebSocket's scope: an ``asyncio.Event`` that is set when the connection is lost, while messages that
# came before may still wait to be received.
GONE = "nim4.gone"
_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
# Descriptors that are not for connections: files of uploads, the model, pipes.
_SPARE = 24
_FEWEST = 8


class Config(uvicorn.Config):
    """uvicorn's configuration, with the bounds of this module."""

    def __init__(self, app: Any, *, max_connections: int | None = None, **options: Any) -> None:
        super().__init__(app, http=Connection, ws=Socket, **options)
        self.max_connections = max_connections
        self.head_s, self.stall_s, self.linger_s = _HEAD_S, _STALL_S, _LINGER_S
        # Connections without a request under way, the one that has waited longest first.
        self.waiting: dict[Connection, None] = {}


def most_connections(recordings: int) -> int:
    """How many connections this process has descriptors for, beside its own files and ``recordings``."""
    try:
        import resource
    except ImportError:
        # Windows, which has no such limit.
        return 1 << 20
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        used = 64
    return max(_FEWEST, limit - used - _SPARE - 2 * recordings)


class Connection(H11Protocol):
    """An HTTP connection."""

    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in if there is room."""
        super().connection_made(transport)
        config = self._bounds
        config.waiting[self] = None
        most = config.max_connections
        if most is not None and len(self.connections) > most:
            longest = next(iter(config.waiting))
            if longest is self:
                self.transport.write(_FULL)
                self.transport.close()
                return
            longest.evict()
        self._timer = self.loop.call_later(config.head_s, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._busy()
        _cancel(self._stall)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP, unless an answer has begun; and let the application know that nobody
        reads its own: uvicorn would take it for a fault of this side.
        """
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._busy()
        _cancel(self._stall)
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self._bounds.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stall)

    def evict(self) -> None:
        """Close it, for a new one."""
        self._busy()
        self.transport.abort()

    @property
    def _bounds(self) -> Config:
        return cast(Config, self.config)

    def _look(self) -> None:
        """Count the time until the next request's head, and none while one is under way."""
        if self.transport.is_closing() or not (self.cycle is None or self.cycle.response_complete):
            self._busy()
        elif self not in self._bounds.waiting and self in self.connections:
            self._bounds.waiting[self] = None
            self._timer = self.loop.call_later(self._bounds.head_s, self._late)

    def _busy(self) -> None:
        self._bounds.waiting.pop(self, None)
        _cancel(self._timer)

    def _late(self) -> None:
        self._busy()
        if not self.transport.is_closing():
            self.transport.write(_LATE)
            self.transport.close()


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket."""

    _linger: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone.set()
        _cancel(self._linger)

    async def run_asgi(self) -> None:
        """Run the application; when it has ended, so does the connection."""
        cast(dict[str, Any], self.scope)[GONE] = self._gone
        try:
            await super().run_asgi()
        finally:
            self._end()

    def keepalive_timeout(self) -> None:
        """No pong has come. While this side does not read, for it is busy with what came before, it is not
        the client's fault.
        """
        if self.read_paused and self.ping_timeout is not None:
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._end()

    def _end(self) -> None:
        """Wait for the client no longer than so; what it does not read would be waited for without end."""
        if self._linger is None and not self.disconnected:
            self._linger = self.loop.call_later(cast(Config, self.config).linger_s, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
