"""``/v1/realtime``: the socket around a ``RealtimeSession``."""

import secrets
import time
from collections.abc import Iterator, Sequence

from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket

from nim4asr.errors import InputError
from nim4asr.recognition.events import Event, Failed
from nim4asr.serving.admission import Place
from nim4asr.serving.errors import ApiError, error_row
from nim4asr.serving.json_text import written
from nim4asr.serving.live import LiveConnection, LiveProtocol
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
from nim4asr.serving.sockets import serve_socket
from nim4asr.serving.state import State

PROTOCOL = "realtime"


async def realtime(websocket: WebSocket) -> None:
    """Serve one session to its end."""
    offered = websocket.scope.get("subprotocols", [])

    def make(state: State, place: Place, connection: LiveConnection[str | bytes]) -> LiveProtocol:
        return Realtime(state, connection, websocket.query_params, place.client.session)

    # A browser closes the socket if the protocol that it asked for is not named.
    await serve_socket(websocket, PROTOCOL if PROTOCOL in offered else None, make)


class Realtime(LiveProtocol):
    """Does what a ``RealtimeSession`` says."""

    name = "realtime"

    def __init__(
        self, state: State, connection: LiveConnection[str | bytes], query: QueryParams, settings: str = ""
    ) -> None:
        self._state, self._connection = state, connection
        self._session = RealtimeSession(
            lambda kind: f"{kind}_{secrets.token_hex(10)}",
            model=state.models.default,
            is_model=lambda name: state.model_of(name) is not None,
            expires_at=int(time.time() + state.config.max_session_s),
            hypotheses=query.get("hypotheses") in ("1", "true") or HYPOTHESES in query.getlist("include"),
        )
        if settings:
            self._session.receive(f'{{"type": "session.update", "session": {settings}}}')

    async def converse(self) -> None:
        await self._perform(self._session.start())
        while True:
            message = await self._connection.receive()
            await self._perform(self._session.receive(message))

    async def conclude(self) -> None:
        await self._perform(self._session.conclude())
        await self._connection.finish()

    def rows(self, generation: int, events: Sequence[Event]) -> Iterator[str]:
        for action in self._session.hear(generation, events):
            # What has been heard asks for nothing but to be told.
            assert isinstance(action, Send)
            yield written(action.row)

    def error(self, error: ApiError) -> str:
        row = error_row(error.message, error.type, error.code or "invalid_value", error.param)
        return written({"type": "error", "event_id": "event_end", "error": {**row, "event_id": None}})

    async def _perform(self, actions: Sequence[Action]) -> None:
        """Do what the session says. Streams are opened and fed by the reader alone, so their order is its;
        all rows of one message are posted before anything waits.
        """
        for action in actions:
            if isinstance(action, Send):
                self._connection.post(written(action.row))
        for action in actions:
            match action:
                case Send():
                    pass
                case Open():
                    await self._open(action)
                case Feed(samples):
                    await self._connection.feed(samples)
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
                model=self._state.model_of(action.model),
            )
        except (InputError, ApiError) as error:
            await self._perform(self._session.hear(action.generation, [Failed(error)]))

    async def _hint(self, keywords: Sequence[str], hotwords: str | None) -> None:
        try:
            await self._connection.hint(keywords, hotwords)
        except (InputError, ApiError) as error:
            await self._perform([self._session.error(error)])
