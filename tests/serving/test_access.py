"""Allowances of sound: a token bucket a client."""

import pytest

from nim4asr.serving.access import Access
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError


def test_an_allowance_is_spent_and_comes_back() -> None:
    now = [0.0]
    access = Access(ServerConfig(audio_s_per_minute=60.0), lambda: now[0])
    access.admit("a")
    access.charge("a", 90.0)
    with pytest.raises(ApiError) as refused:
        access.admit("a")
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "30"
    # Others are not concerned.
    access.admit("b")
    now[0] = 30.5
    access.admit("a")
    # However long the wait, no more than a minute's is saved up.
    now[0] = 1e6
    access.charge("a", 60.0)
    with pytest.raises(ApiError):
        access.admit("a")


def test_without_a_rate_nothing_is_counted() -> None:
    access = Access(ServerConfig())
    access.charge("a", 1e9)
    access.admit("a")


@pytest.mark.parametrize(
    "values",
    [
        {"max_streams": 0},
        {"max_upload_bytes": 0},
        {"max_waiting": -1},
        {"max_session_s": 0.0},
        {"audio_s_per_minute": -1.0},
    ],
)
def test_impossible_servers(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"room for|positive"):
        ServerConfig(**values)  # type: ignore[arg-type]
