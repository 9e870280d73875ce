"""Keys for browsers: made for a session, over soon, and good for nothing else."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.realtime import ClientSecretCreateResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.keys import Key
from nim4asr.serving.secret_tokens import NO_KEY, ClientSecret, _signature, read
from serving.conftest import PATIENCE_S, Log, Running
from serving.test_application import ask, transcribe
from serving.test_realtime import until

ROUTE = "/v1/realtime/client_secrets"
SESSION = {
    "type": "transcription",
    "audio": {"input": {"turn_detection": None, "transcription": {"keywords": ["张伟东"]}}},
}


def created(url: str, secret: str) -> dict[str, Any]:
    """What a browser's session begins with."""
    protocols: Any = ["realtime", f"openai-insecure-api-key.{secret}"]
    with connect(f"{url}/v1/realtime", subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        session: dict[str, Any] = until(socket, "session.created")["session"]
        return session


def test_by_openai_s_client(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(keys=(Key("one", "alice", max_streams=1),))) as server:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="one", max_retries=0) as client:
            made = client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session=SESSION,  # type: ignore[arg-type]
            )
        ClientSecretCreateResponse.model_validate(made.to_dict())
        assert made.value.startswith("ek_") and 50 < made.expires_at - time.time() <= 60
        session = created(server.ws_url, made.value)
        assert session["audio"]["input"]["turn_detection"] is None
        assert session["audio"]["input"]["transcription"]["keywords"] == ["张伟东"]
        # It opens live sessions alone, and counts as its key.
        bearer = f"Bearer {made.value}"
        assert ask(server, "GET", "/v1/models", authorization=bearer)[0] == 401
        assert ask(server, "POST", ROUTE, authorization=bearer)[0] == 401
        assert transcribe(server, authorization=bearer)[0] == 401
        headers = {"Authorization": "Bearer one"}
        with connect(f"{server.ws_url}/v1/realtime", additional_headers=headers) as socket:
            until(socket, "session.created")
            with pytest.raises(InvalidStatus) as refused:
                created(server.ws_url, made.value)
        assert refused.value.response.status_code == 503


def test_a_secret_ends_with_its_time_and_its_key(serve: Callable[..., Any]) -> None:
    old, key = Key("old", "alice"), Key("one", "alice")
    with serve(ServerConfig(keys=(key,))) as server:
        later, before = int(time.time()) + 60, int(time.time()) - 1
        good = ClientSecret(key, later, {}).value()
        payload, _, signature = good.partition(".")
        longer = (
            base64.urlsafe_b64encode(b'{"key":"alice","expires_at":9e9,"session":{}}').decode().rstrip("=")
        )
        bad = [
            ClientSecret(key, before, {}).value(),
            ClientSecret(old, later, {}).value(),
            ClientSecret(Key("one", "bob"), later, {}).value(),
            f"{payload}.",
            payload,
            f"{payload}.{signature[:-1]}",
            f"ek_{longer}.{signature}",
            "ek_",
            "ek_.",
            "ek_bnVsbA.x",
            "ek_W10.x",
            "ek_" + "x" * 3000,
        ]
        assert created(server.ws_url, good)
        for secret in bad:
            with pytest.raises(InvalidStatus) as refused:
                created(server.ws_url, secret)
            assert refused.value.response.status_code == 401, secret
        assert read("ek_é.é", [key], 0.0) is None
        server.state.access.replace([old])
        with pytest.raises(InvalidStatus):
            created(server.ws_url, good)


@pytest.mark.parametrize(
    ("expires_at", "session"),
    [
        *(("x", "{}"), ("[]", "{}"), ("1e999", "{}"), ("NaN", "{}"), ("9e9", "[[]]"), ("9e9", "3")),
        *(("9e9", '{"a": NaN}'), ("9e9", '{"a": "\\ud800"}'), ("9e9", '{"type": {"b": []}}')),
    ],
)
def test_without_keys_anyone_may_sign(nano: Running, log: Log, expires_at: str, session: str) -> None:
    """Who makes a secret up gets the session that everyone gets."""
    row = f'{{"key": "", "expires_at": {expires_at}, "session": {session}}}'
    payload = base64.urlsafe_b64encode(row.encode()).decode().rstrip("=")
    signature = _signature(NO_KEY, payload)
    assert created(nano.ws_url, f"ek_{payload}.{signature}")["type"] == "transcription"
    assert not log.faults


@pytest.mark.parametrize(
    "body",
    [
        {"expires_after": {"seconds": 5}},
        {"expires_after": {"seconds": 7201}},
        {"expires_after": {"seconds": 60.5}},
        {"expires_after": {"anchor": "never", "seconds": 60}},
        {"expires_after": 60},
        {"session": {"type": "realtime"}},
        {"session": 3},
        {"session": {"audio": {"input": {"format": {"type": "audio/opus"}}}}},
        {"session": {"audio": {"input": {"transcription": {"model": "gpt-9"}}}}},
        {"session": {"audio": {"input": {"transcription": {"keywords": ["x" * 100] * 50}}}}},
        [],
        "{",
        '{"session": {"include": [NaN]}}',
        "[" * 50_000,
    ],
)
def test_what_cannot_be(nano: Running, log: Log, body: Any) -> None:
    data = body if isinstance(body, str) else json.dumps(body)
    status, row, _ = ask(nano, "POST", ROUTE, data.encode(), content_type="application/json")
    assert status == 400 and row["error"]["message"] and not log.faults


def test_without_keys_everyone_has_one(nano: Running) -> None:
    row = ask(nano, "POST", ROUTE, json.dumps({"session": SESSION}).encode())[1]
    assert created(nano.ws_url, row["value"])["audio"]["input"]["turn_detection"] is None
    assert ask(nano, "POST", ROUTE, b"")[1]["expires_at"] > time.time() + 500
    # One that is none is as good as none.
    assert created(nano.ws_url, "ek_none")["audio"]["input"]["turn_detection"] is not None
    assert created(nano.ws_url, "anything")


def test_keys_are_asked_for(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(keys=("one",))) as server:
        assert ask(server, "POST", ROUTE, b"{}")[0] == 401
        status, row, _ = ask(server, "POST", ROUTE, b"{}", authorization="Bearer one")
        assert status == 200
        with connect(
            f"{server.ws_url}/", additional_headers={"Authorization": f"Bearer {row['value']}"}
        ) as socket:
            socket.send("Done")
            assert socket.recv(timeout=PATIENCE_S) == "Done!"


def test_a_key_may_look_like_a_secret(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(keys=(Key("ek_mine", "alice"),))) as server:
        assert created(server.ws_url, "ek_mine")
