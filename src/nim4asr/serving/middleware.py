"""Around every request: a bound on its body, and a line of log for it."""

import json
import sys
import time
import uuid
from collections.abc import Mapping
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nim4asr.serving.errors import ApiError
from nim4asr.serving.metrics import Metrics


class BodyLimit:
    """Refuses bodies of more than ``max_bytes``, whether their length is told or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = told.isdigit() and int(told) > self._max_bytes
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if too_large or received > self._max_bytes:
                # Whatever reads the body passes this on to the application's handler of errors.
                raise ApiError(413, f"the body is over {self._max_bytes >> 20} MiB", "file_too_large", "file")
            return message

        await self._app(scope, limited, send)


class RequestLog:
    """Writes one JSON row a request, and counts it. Rows hold no text that was said, no names and no
    query.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, output: TextIO | None = None) -> None:
        self._app, self._metrics, self._output = app, metrics, output

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        request_id = f"req_{uuid.uuid4().hex}"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                message = {
                    **message,
                    "headers": [*message["headers"], (b"x-request-id", request_id.encode())],
                }
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = _route_of(scope)
            self._metrics.requests.labels(route, str(status)).inc()
            self._write(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "id": request_id,
                    "kind": scope["type"],
                    "method": scope.get("method", "GET"),
                    "route": route,
                    "status": status,
                    "seconds": round(time.monotonic() - began, 4),
                }
            )

    def _write(self, row: Mapping[str, Any]) -> None:
        output = self._output or sys.stderr
        output.write(json.dumps(row) + "\n")
        output.flush()


def _route_of(scope: Scope) -> str:
    """The route's pattern, not the path: that may be anything, and without bounds."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
