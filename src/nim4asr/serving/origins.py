"""Which web pages may use a server that asks for no key.

A page on any site can send requests to this machine: to WebSockets without asking, and to all else too once
it has its own name point here (DNS rebinding). Browsers say what they are doing: ``Host`` is the name that
the page called, ``Origin`` the site that it is of.
"""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from nim4asr.serving.access import Access
from nim4asr.serving.configuration import ANY
from nim4asr.serving.errors import ApiError, shown

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class OwnPages:
    """Without keys, lets in who calls the server by one of ``hosts`` (``*``: any), and of web pages its own
    and those of ``origins``. Raises ``ApiError`` 403 for others.
    """

    def __init__(
        self, app: ASGIApp, access: Access, hosts: Collection[str], origins: Collection[str]
    ) -> None:
        self._app, self._access = app, access
        self._hosts, self._origins = {host.lower() for host in hosts}, set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._access.keys:
            headers = Headers(scope=scope)
            host = headers.get("host")
            # Every browser says what it calls; what does not is none.
            if host is not None and not self._is_host(host):
                raise ApiError(
                    403,
                    f"this server is not called {shown(host)}: without a key it answers on its own machine "
                    "alone (nim4 serve --allow-host NAME for other names, --keys for other machines)",
                    "forbidden_host",
                )
            origin = headers.get("origin")
            if origin is not None and not self._is_origin(origin, host or ""):
                raise ApiError(
                    403,
                    f"pages of {shown(origin)} may not use this server; nim4 serve --cors ORIGIN lets them",
                    "forbidden_origin",
                )
        await self._app(scope, receive, send)

    def _is_host(self, host: str) -> bool:
        if ANY in self._hosts:
            return True
        name, _ = _authority(f"//{host}", 0)
        if name in self._hosts:
            return True
        try:
            # 127.0.0.2 is this machine too, if its own name for itself is among the hosts.
            return ip_address(name).is_loopback and "127.0.0.1" in self._hosts
        except ValueError:
            return False

    def _is_origin(self, origin: str, host: str) -> bool:
        if ANY in self._origins or origin in self._origins:
            return True
        scheme = origin.partition(":")[0]
        if scheme not in _PORTS:
            return False
        own = _authority(f"//{host}", _PORTS[scheme])
        return bool(own[0]) and _authority(origin, _PORTS[scheme]) == own


def _authority(url: str, port: int) -> tuple[str, int]:
    """The host, lower case, and the port of ``url``; nothing for what cannot be read."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").removesuffix("."), parts.port or port
    except ValueError:
        return "", 0
