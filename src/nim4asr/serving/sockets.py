"""WebSockets: who is let in, before the handshake so that the client sees an HTTP status, and the wire of a
session over one.
"""

import asyncio
from collections.abc import Callable

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from nim4asr.serving.admission import Place
from nim4asr.serving.connections import GONE
from nim4asr.serving.errors import ApiError, EndedError
from nim4asr.serving.live import ClientGone, LiveConnection, LiveProtocol, Wire
from nim4asr.serving.state import State, state_of

# What makes the protocol of a session, for one who was let in.
Make = Callable[[State, Place, LiveConnection[str | bytes]], LiveProtocol]


async def serve_socket(websocket: WebSocket, subprotocol: str | None, make: Make) -> None:
    """Serve a session to its end. Raises ``ApiError``, before the handshake, if there is no place for it."""
    state = state_of(websocket)
    client = state.access.check(websocket)
    state.access.admit(client)
    with state.admission.session(client) as place:
        try:
            await websocket.accept(subprotocol)
        except OSError:
            # The client has gone already.
            return
        connection = LiveConnection(state, place, SocketWire(websocket))
        await connection.run(make(state, place, connection))


class SocketWire(Wire[str | bytes]):
    """A WebSocket that has been accepted."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def gone(self) -> None:
        # Where ``nim4asr.serving.connections`` holds the connection.
        await self._websocket.scope.get(GONE, asyncio.Event()).wait()

    async def receive(self) -> str | bytes:
        if self._websocket.client_state is WebSocketState.DISCONNECTED:
            raise ClientGone
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise ClientGone
        text = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    async def send(self, row: str | bytes) -> None:
        try:
            if isinstance(row, str):
                await self._websocket.send_text(row)
            else:
                await self._websocket.send_bytes(row)
        except (WebSocketDisconnect, OSError, RuntimeError):
            # ``RuntimeError`` is how servers and Starlette say that the socket was closed before. It is
            # caught here, where nothing else happens: torch's "out of memory" is one, too.
            raise ClientGone from None

    async def close(self, error: ApiError | None) -> None:
        try:
            await self._websocket.close(_close_code(error))
        except (WebSocketDisconnect, OSError, RuntimeError):
            raise ClientGone from None


def _close_code(error: ApiError | None) -> int:
    """The code of RFC 6455, section 7.4.1, and of its registry."""
    if error is None:
        return 1000
    if isinstance(error, EndedError):
        # "Going away", against the rules, or a session that has had its time.
        return {503: 1001, 429: 1008}.get(error.status, 1000)
    if error.status >= 500:
        # "Try again later", or an error of the server's.
        return 1013 if error.status == 503 else 1011
    return 1008
