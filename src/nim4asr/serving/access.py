"""Who may use the server, and how much: API keys, compared in constant time; seconds of sound a minute."""

import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import HTTPConnection

from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError

# How browsers, which cannot set headers of a WebSocket, send their key as a subprotocol.
KEY_PROTOCOL = "openai-insecure-api-key."
# Clients whose allowance is remembered at the same time.
_MOST_CLIENTS = 10_000


class Access:
    """Checks keys, and keeps an allowance of sound for each client."""

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._keys = [key.encode() for key in config.keys]
        # Of each client, seconds of sound that it may still send, and when that was.
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, connection: HTTPConnection) -> str:
        """The client's name for ``admit``. Raises ``ApiError`` 401 for a missing or a wrong key."""
        if not self._keys:
            return connection.client.host if connection.client else "local"
        given = _key_of(connection)
        if given is None:
            raise ApiError(401, "this server needs an API key: Authorization: Bearer KEY", "invalid_api_key")
        # All of them, so that the time does not tell which one was near.
        matches = [hmac.compare_digest(given.encode("utf-8", "replace"), key) for key in self._keys]
        if not any(matches):
            raise ApiError(401, "the API key is not one of this server's", "invalid_api_key")
        return f"key {matches.index(True)}"

    def admit(self, client: str) -> None:
        """Let a client go on. Raises ``ApiError`` 429 when it has used up what it may send in a minute."""
        left = self._left(client)
        if left is not None and left <= 0:
            rate = self._config.audio_s_per_minute
            wait = max(1, math.ceil(-left * 60 / rate))
            raise ApiError(
                429,
                f"more than {rate:g} seconds of sound in a minute; try again in {wait} s",
                "rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )

    def charge(self, client: str, seconds: float) -> None:
        """Count sound of a client. A recording may be longer than what is left; it is paid off by waiting."""
        left = self._left(client)
        if left is not None:
            self._allowances[client] = (left - seconds, self._clock())

    def _left(self, client: str) -> float | None:
        """Seconds of sound that the client may send now, None for any number (a token bucket)."""
        rate = self._config.audio_s_per_minute
        if not rate:
            return None
        now = self._clock()
        left, before = self._allowances.pop(client, (rate, now))
        left = min(rate, left + (now - before) * rate / 60)
        self._allowances[client] = (left, now)
        while len(self._allowances) > _MOST_CLIENTS:
            self._allowances.popitem(last=False)
        return left


def _key_of(connection: HTTPConnection) -> str | None:
    kind, _, key = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key:
        return key.strip()
    for protocol in connection.headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_PROTOCOL):
            return protocol.strip().removeprefix(KEY_PROTOCOL)
    return None
