"""Errors in the shape of OpenAI's: ``{"error": {"message", "type", "param", "code"}}``."""

from collections.abc import Mapping
from typing import Any

from nim4asr.errors import InputError, OverloadedError


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
    def body(self) -> dict[str, Any]:
        """What the client gets."""
        return {"error": error_row(self.message, _type_of(self.status), self.code, self.param)}


def error_row(
    message: str, type: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error object."""
    return {"message": message, "type": type, "param": param, "code": code}


def as_api_error(error: Exception) -> ApiError:
    """What a client is told of any error: its sentence if it is the client's to mend, and no more than that
    something failed if it is not.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OverloadedError):
        return ApiError(429, str(error), "rate_limit_exceeded", headers={"Retry-After": "5"})
    if isinstance(error, InputError):
        return ApiError(400, str(error))
    return ApiError(500, "the server failed at this request; its log has the reason", "server_error")


def _type_of(status: int) -> str:
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
