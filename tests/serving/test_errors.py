"""What a client is told of an error."""

import errno

import pytest

from nim4asr.errors import InputError, OverloadedError
from nim4asr.serving.errors import ApiError, as_api_error


class _NumberedError(Exception):
    """No error of the operating system, with the number of one."""

    errno = errno.EMFILE


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("too long"), 400),
        (OverloadedError("full"), 503),
        (ApiError(413, "too large"), 413),
        (OSError(errno.ENOSPC, "no space"), 507),
        (OSError(errno.EMFILE, "too many files"), 503),
        (OSError(errno.EACCES, "not allowed"), 500),
        (_NumberedError("other"), 500),
        (ValueError("numpy's"), 500),
    ],
)
def test_whose_fault_an_error_is(error: Exception, status: int) -> None:
    told = as_api_error(error)
    assert told.status == status
    # What is the client's own is told as it is; of the server's own, nothing inner is.
    assert (str(error) in told.message) == (status in (400, 413) or isinstance(error, OverloadedError))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error"),
        (499, "invalid_request_error"), (500, "server_error"),
    ],
)  # fmt: skip
def test_types_are_openai_s(status: int, kind: str) -> None:
    assert ApiError(status, "no").body["error"]["type"] == kind
