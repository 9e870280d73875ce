"""Around every request: a line of log, errors made answers, and bounds on its body."""

import asyncio
import time
import uuid

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nim4asr.serving.errors import ApiError, as_api_error
from nim4asr.serving.logs import LOG, REQUESTS, request_id
from nim4asr.serving.metrics import Metrics

# What nginx calls a client that went away before it was answered.
_GONE = 499
# A body must come: its first bytes, and then so many a second on average.
_BODY_START_S = 30.0
_BODY_BYTES_PER_S = 2048


class RequestLog:
    """Logs one row a request, and counts it. Rows hold no text that was said, no names and no query."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        id_ = f"req_{uuid.uuid4().hex}"
        token = request_id.set(id_)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", id_.encode())]}
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            status = status or _GONE
            route, method = _route_of(scope), scope.get("method", "GET")
            self._metrics.requests.labels(route, str(status)).inc()
            row = {
                "kind": scope["type"],
                "method": method,
                "route": route,
                "status": status,
                "seconds": round(time.monotonic() - began, 4),
                **scope.get(LOG, {}),
            }
            REQUESTS.info("%s %s %d", method, route, status, extra={"row": row})
            request_id.reset(token)


class Errors:
    """Answers for whatever goes wrong further in, once and for all: ``as_api_error`` says how and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        socket, answered = scope["type"] == "websocket", False

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:
            pass
        except Exception as error:
            told = as_api_error(error)
            if socket and answered:
                await send({"type": "websocket.close", "code": 1011, "reason": ""})
            elif socket and "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
            elif not answered:
                await JSONResponse(told.body, told.status, told.headers)(scope, receive, send)
            # An answer that has begun and does not end is cut off by whatever runs this application.


class BodyLimit:
    """Refuses bodies of more than ``max_bytes``, whether their length is told or not, and those that do not
    come.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and (len(length) > 18 or int(length) > self._max_bytes):
            raise self._too_large()
        began, received, complete = time.monotonic(), 0, False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            left = began + _BODY_START_S + received / _BODY_BYTES_PER_S - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "the rest of the body did not come in time", "request_timeout") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._max_bytes:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is over {self._max_bytes >> 20} MiB", "file_too_large", "file")


def _route_of(scope: Scope) -> str:
    """The route's pattern, not the path: that may be anything, and without bounds."""
    route = scope.get("route")
    return str(getattr(route, "path", "other"))
