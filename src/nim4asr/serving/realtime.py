"""``/v1/realtime``: the socket around a ``RealtimeSession``."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from nim4asr.errors import InputError
from nim4asr.recognition.events import Failed
from nim4asr.serving.errors import ApiError, error_row
from nim4asr.serving.live import LiveConnection, TooSlowError
from nim4asr.serving.realtime_session import (
    HYPOTHESES,
    Action,
    Commit,
    Configure,
    Drop,
    Feed,
    Hint,
    Open,
    RealtimeSession,
    Send,
)
from nim4asr.serving.sockets import admitted
from nim4asr.serving.state import state_of

PROTOCOL = "realtime"


async def realtime(websocket: WebSocket) -> None:
    """Serve one session to its end."""
    client = await admitted(websocket)
    if client is None:
        return
    offered = websocket.scope.get("subprotocols", [])
    # A browser closes the socket if the protocol that it asked for is not named.
    await websocket.accept(PROTOCOL if PROTOCOL in offered else None)
    await _Session(websocket, client).run()


class _Session:
    def __init__(self, websocket: WebSocket, client: str) -> None:
        self._websocket, self._state = websocket, state_of(websocket)
        self._connection = LiveConnection(self._state, client)
        query = websocket.query_params
        self._session = RealtimeSession(
            lambda kind: f"{kind}_{secrets.token_hex(10)}",
            model=self._state.config.model_name,
            expires_at=int(time.time() + self._state.config.max_session_s),
            hypotheses=query.get("hypotheses") in ("1", "true") or HYPOTHESES in query.getlist("include"),
        )
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run(self) -> None:
        tasks = [asyncio.create_task(work()) for work in (self._read, self._hear, self._write)]
        try:
            await self._perform(self._session.start())
            done, _ = await asyncio.wait(
                tasks, timeout=self._state.config.max_session_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                await self._refuse("the session has lasted as long as this server allows", "session_expired")
            for task in done:
                await self._ended_by(task.exception())
        finally:
            for task in tasks:
                task.cancel()
            self._connection.drop()
            self._state.metrics.sessions.labels("realtime").inc()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                text = (message.get("bytes") or b"").decode("utf-8", "replace")
            await self._perform(self._session.receive(text))

    async def _hear(self) -> None:
        while True:
            generation, events = await self._connection.events()
            await self._perform(self._session.hear(generation, events))

    async def _write(self) -> None:
        while True:
            await self._websocket.send_json(await self._outbox.get())

    async def _perform(self, actions: Sequence[Action]) -> None:
        """Do what the session says. Streams are opened and fed by the reader alone, so their order is its."""
        for action in actions:
            match action:
                case Send(row):
                    self._outbox.put_nowait(dict(row))
                case Open():
                    await self._open(action)
                case Feed(samples):
                    await self._connection.feed(samples, len(samples) / self._session.rate)
                case Commit(token):
                    self._connection.commit(token)
                case Configure(voice_activity):
                    self._connection.configure(voice_activity)
                case Hint(keywords, hotwords):
                    await self._hint(keywords, hotwords)
                case Drop():
                    self._connection.drop()

    async def _open(self, action: Open) -> None:
        try:
            await self._connection.open(
                action.generation,
                action.config,
                sample_rate=action.sample_rate,
                names=action.keywords,
                hotwords=action.hotwords,
            )
        except (InputError, ApiError) as error:
            await self._perform(self._session.hear(action.generation, [Failed(error)]))

    async def _hint(self, keywords: Sequence[str], hotwords: str | None) -> None:
        try:
            await self._connection.hint(keywords, hotwords)
        except (InputError, ApiError) as error:
            await self._perform([self._session.error(error)])

    async def _ended_by(self, error: BaseException | None) -> None:
        if error is None or isinstance(error, WebSocketDisconnect):
            return
        if isinstance(error, ApiError):
            await self._refuse(error.message, error.code or "invalid_value")
        elif isinstance(error, TooSlowError):
            await self._refuse("too much waits to be read by this client", "too_far_behind")
        elif not isinstance(error, RuntimeError | OSError):
            # A socket that has gone raises these; everything else is a fault of ours.
            raise error

    async def _refuse(self, message: str, code: str) -> None:
        with suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
            async with asyncio.timeout(5):
                row = {"type": "error", "event_id": "event_end", "error": error_row(message, code=code)}
                await self._websocket.send_json(row)
                await self._websocket.close(1000 if code == "session_expired" else 1008)
