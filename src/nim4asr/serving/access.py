"""Who may use the server, and how much: API keys, compared in constant time; seconds of sound a minute."""

import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address

from starlette.requests import HTTPConnection

from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.json_text import written
from nim4asr.serving.keys import Key, named
from nim4asr.serving.logs import LOG
from nim4asr.serving.secret_tokens import NO_KEY, PREFIX, read

# How browsers, which cannot set headers of a WebSocket, send their key as a subprotocol.
KEY_PROTOCOL = "openai-insecure-api-key."
# Clients whose allowance is remembered at the same time.
_MOST_CLIENTS = 10_000


@dataclass(frozen=True)
class Client:
    """Who asks: a key, or an address where there are none."""

    id: str = field(repr=False)
    """By this it is counted; never told."""
    name: str = ""
    """The key's name; nothing without one, for logs hold no addresses."""
    key: Key | None = None
    session: str = ""
    """Settings that its live session begins with, as JSON: of a client secret."""
    local: bool = False
    """Whether it is on this machine, without a key: then there is nobody to share with."""

    @classmethod
    def of_address(cls, address: str) -> "Client":
        """A client without a key. A network that is one subscriber's is one client: of IPv6 that is a /64."""
        try:
            found = ip_address(address)
        except ValueError:
            # A socket of this machine that has no address.
            return cls(f"address {address}", local=address in ("", "local"))
        if isinstance(found, IPv6Address):
            # Where a socket serves both, this is how it calls those of IPv4.
            found = found.ipv4_mapped or found
        if isinstance(found, IPv6Address) and not found.is_loopback:
            return cls(f"address {int(found) >> 64:x}")
        return cls(f"address {found}", local=found.is_loopback)

    @classmethod
    def of_key(cls, key: Key) -> "Client":
        """A client with a key."""
        return cls(f"key {key.secret}", key.name, key)


class Access:
    """Checks keys, and keeps an allowance of sound for each client."""

    def __init__(self, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._keys = named(config.keys)
        # Of each client, seconds of sound that it may still send, and when that was.
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that are valid now."""
        return self._keys

    def replace(self, keys: Sequence[Key]) -> None:
        """Take other keys from now on; sessions that are open go on. Raises ``ValueError`` for none, which
        would open the server to everyone.
        """
        if not keys:
            raise ValueError("a server that had keys must keep one")
        self._keys = tuple(keys)

    def check(self, connection: HTTPConnection) -> Client:
        """The client, whose name the log of its request gets. Raises ``ApiError`` 401 for a missing or a
        wrong key.
        """
        client = self._checked(connection)
        if client.name:
            connection.scope.setdefault(LOG, {})["client"] = client.name
        return client

    def _checked(self, connection: HTTPConnection) -> Client:
        given = _key_of(connection)
        if given is not None and given.startswith(PREFIX) and connection.scope["type"] == "websocket":
            client = self._with_secret(given, connection)
            if client is not None:
                return client
        if not self._keys:
            return _by_address(connection)
        if given is None:
            raise ApiError(401, "this server needs an API key: Authorization: Bearer KEY", "invalid_api_key")
        # All of them, so that the time does not tell which one was near.
        secret = given.encode("utf-8", "replace")
        matches = [key for key in self._keys if hmac.compare_digest(secret, key.secret.encode())]
        if not matches:
            what = "client secret is none of this server's, or is over"
            what = what if given.startswith(PREFIX) else "API key is not one of this server's"
            raise ApiError(401, f"the {what}", "invalid_api_key")
        return Client.of_key(matches[0])

    def _with_secret(self, given: str, connection: HTTPConnection) -> Client | None:
        """Who has the client secret ``given``; None if it is none, or over."""
        secret = read(given, self._keys or (NO_KEY,), time.time())
        if secret is None:
            return None
        client = Client.of_key(secret.key) if self._keys else _by_address(connection)
        return replace(client, session=written(secret.session))

    def admit(self, client: Client) -> None:
        """Let a client go on. Raises ``ApiError`` 429 when it has used up what it may send in a minute."""
        rate = self._rate(client)
        left = self._left(client, rate)
        if left is not None and left <= 0:
            wait = max(1, math.ceil(-left * 60 / rate))
            raise ApiError(
                429,
                f"more than {rate:g} seconds of sound in a minute; try again in {wait} s",
                "rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )

    def charge(self, client: Client, seconds: float) -> None:
        """Count sound of a client. A recording may be longer than what is left; it is paid off by waiting."""
        left = self._left(client, self._rate(client))
        if left is not None:
            self._allowances[client.id] = (left - seconds, self._clock())

    def _rate(self, client: Client) -> float:
        own = client.key.audio_s_per_minute if client.key else None
        return self._config.audio_s_per_minute if own is None else own

    def _left(self, client: Client, rate: float) -> float | None:
        """Seconds of sound that the client may send now, None for any number (a token bucket)."""
        if not rate:
            return None
        now = self._clock()
        left, before = self._allowances.pop(client.id, (rate, now))
        left = min(rate, left + (now - before) * rate / 60)
        self._allowances[client.id] = (left, now)
        while len(self._allowances) > _MOST_CLIENTS:
            self._allowances.popitem(last=False)
        return left


def _by_address(connection: HTTPConnection) -> Client:
    return Client.of_address(connection.client.host if connection.client else "local")


def _key_of(connection: HTTPConnection) -> str | None:
    kind, _, key = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key:
        return key.strip()
    for protocol in connection.headers.get("sec-websocket-protocol", "").split(","):
        if protocol.strip().startswith(KEY_PROTOCOL):
            return protocol.strip().removeprefix(KEY_PROTOCOL)
    return None
