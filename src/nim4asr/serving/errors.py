"""Errors in the shape of OpenAI's: ``{"error": {"message", "type", "param", "code"}}``.

``as_api_error`` is the one place that decides what a client is told of an error, for all protocols, and that
writes down what is the server's own fault.
"""

import errno
from collections.abc import Mapping
from typing import Any

from nim4asr.errors import InputError, OverloadedError
from nim4asr.serving.logs import SERVER

# Errors of the operating system that say that it has no more room, and no more descriptors or memory.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_RETRY_S = 5


class ApiError(Exception):
    """A request that is refused with ``status`` and one sentence."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def type(self) -> str:
        """OpenAI's type for errors of this status."""
        if self.status == 401:
            return "authentication_error"
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    @property
    def body(self) -> dict[str, Any]:
        """What the client gets."""
        return {"error": error_row(self.message, self.type, self.code, self.param)}


class EndedError(ApiError):
    """A live session ends by the server's rules; what was said is told first."""


def error_row(
    message: str, type: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error object."""
    return {"message": message, "type": type, "param": param, "code": code}


def shown(text: str) -> str:
    """What a client gave, as it may stand in a sentence for it."""
    return repr(text if len(text) <= 80 else f"{text[:80]}...")


def busy(message: str, retry_s: int = _RETRY_S) -> ApiError:
    """503: the server cannot take this now, and may ``retry_s`` seconds later."""
    return ApiError(503, message, "server_busy", headers={"Retry-After": str(retry_s)})


def as_api_error(error: BaseException) -> ApiError:
    """What a client is told of any error: its sentence if it is the client's to mend, and no more than that
    something failed if it is not. What is not the client's is logged here.

    Only ``InputError`` is the client's: other kinds of ``ValueError`` are numpy's or our own.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OverloadedError):
        return busy(str(error))
    if isinstance(error, InputError):
        return ApiError(400, str(error))
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        SERVER.error("no room on the disk", exc_info=error)
        return ApiError(507, "the server has no room on its disk; try again later", "server_error")
    if isinstance(error, OSError) and error.errno in _NO_MEANS:
        SERVER.error("out of descriptors or memory: %s", error.strerror)
        return busy("the server is short of means; try again later")
    SERVER.error("a request failed: %s", type(error).__name__, exc_info=error)
    return ApiError(500, "the server failed at this request; its log has the reason", "server_error")
