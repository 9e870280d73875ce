"""``POST /v1/realtime/client_secrets``, as OpenAI has it: a key for a browser, and a session's settings with
it.
"""

import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nim4asr.serving.errors import ApiError
from nim4asr.serving.json_text import parsed_object, written
from nim4asr.serving.realtime_session import RealtimeSession, Send
from nim4asr.serving.secret_tokens import NO_KEY, ClientSecret
from nim4asr.serving.state import state_of

_SHORTEST_S, _LONGEST_S, _DEFAULT_S = 10, 7200, 600
# A secret travels in a header, and its session with it.
_LONGEST_SESSION = 2000


async def client_secrets(request: Request) -> Response:
    """Make a secret for a session with the settings that are given."""
    state = state_of(request)
    client = state.access.check(request)
    body = await request.body()
    row = parsed_object(body) if body.strip() else {}
    asked = row.get("session") or {}
    session = RealtimeSession(
        lambda kind: f"{kind}_{secrets.token_hex(10)}",
        model=state.models.default,
        is_model=lambda name: state.model_of(name) is not None,
    )
    session_row: Mapping[str, Any] = {}
    for action in session.receive(written({"type": "session.update", "session": asked})):
        assert isinstance(action, Send)
        if action.row["type"] == "error":
            error = action.row["error"]
            raise ApiError(400, error["message"], error["code"], error["param"])
        session_row = action.row["session"]
    if len(written(asked)) > _LONGEST_SESSION:
        raise ApiError(
            400,
            f"session: more than {_LONGEST_SESSION} characters; give the rest by session.update",
            param="session",
        )
    expires_at = int(time.time()) + _lifetime(row.get("expires_after"))
    secret = ClientSecret(client.key or NO_KEY, expires_at, asked)
    return JSONResponse(
        {
            "value": secret.value(),
            "expires_at": expires_at,
            "session": {**session_row, "expires_at": expires_at},
        }
    )


def _lifetime(given: object) -> int:
    param = "expires_after"
    if given is None:
        return _DEFAULT_S
    seconds = given.get("seconds", _DEFAULT_S) if isinstance(given, dict) else None
    if (
        not isinstance(given, dict)
        or given.get("anchor", "created_at") != "created_at"
        or type(seconds) is not int
        or not _SHORTEST_S <= seconds <= _LONGEST_S
    ):
        raise ApiError(
            400,
            f"{param}: expected the anchor created_at and {_SHORTEST_S} to {_LONGEST_S} seconds",
            param=param,
        )
    return seconds
