"""Pages of other sites, and names that point here: what a browser on this machine may do to its server."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from nim4asr.serving.configuration import ServerConfig
from serving.conftest import PATIENCE_S, Running
from serving.test_application import ask, transcribe

OWN_NAMES = ["localhost", "LOCALHOST.", "127.0.0.1", "127.0.0.2", "[::1]"]
OTHER_NAMES = [
    "evil.example",
    "localhost.evil.example",
    "0.0.0.0",
    "192.168.0.7",
    "[::2]",
    "a b",
    "[",
    "\xff",
    "",
]
ROUTES = [
    ("GET", "/"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("GET", "/page/page.js"),
    ("PUT", "/v1/hotwords/people"),
    ("DELETE", "/v1/hotwords/people"),
    ("POST", "/v1/audio/transcriptions"),
]


@pytest.mark.parametrize("name", OWN_NAMES)
def test_its_own_names(nano: Running, name: str) -> None:
    for host in (name, f"{name}:{nano.port}"):
        assert ask(nano, "GET", "/v1/models", host=host)[0] == 200


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names(nano: Running, name: str) -> None:
    """A site whose name was made to point here is told nothing, and changes nothing."""
    for method, path in ROUTES:
        status, row, _ = ask(nano, method, path, b"x", host=f"{name}:{nano.port}" if name else "")
        assert status == 403 and row["error"]["code"] == "forbidden_host", (method, path)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost", "http://localhost:1", "file://", "", "http://["],
)
def test_pages_of_other_sites(nano: Running, origin: str) -> None:
    for method, path in ROUTES:
        status, row, _ = ask(nano, method, path, b"x", origin=origin)
        assert status == 403 and row["error"]["code"] == "forbidden_origin", (method, path)
    for path, protocols in (("/v1/realtime", None), ("/", None), ("/", ["binary"])):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(
                f"{nano.ws_url}{path}",
                subprotocols=protocols,  # type: ignore[arg-type]
                additional_headers={"Origin": origin},
            ),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_its_own_pages(nano: Running) -> None:
    for host in ("localhost", "127.0.0.1", "LocalHost"):
        origin = f"http://{host.lower()}:{nano.port}"
        assert ask(nano, "GET", "/v1/models", origin=origin, host=f"{host}:{nano.port}")[0] == 200
    assert transcribe(nano, origin=nano.url)[0] == 200
    with connect(f"{nano.ws_url}/v1/realtime", additional_headers={"Origin": nano.url}) as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["type"] == "session.created"
    # Behind something that speaks TLS for it.
    assert ask(nano, "GET", "/v1/models", origin="https://localhost", host="localhost:443")[0] == 200


def test_pages_that_were_allowed(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(cors_origins=("https://a.example",))) as server:
        assert ask(server, "GET", "/v1/models", origin="https://a.example")[0] == 200
        assert ask(server, "GET", "/v1/models", origin="https://b.example")[0] == 403
        with connect(f"{server.ws_url}/", additional_headers={"Origin": "https://a.example"}) as socket:
            socket.send("Done")
            assert socket.recv(timeout=PATIENCE_S) == "Done!"
        # A page that is allowed reads also what is refused.
        headers = ask(server, "GET", "/nothing", origin="https://a.example")[2]
        assert headers["access-control-allow-origin"] == "https://a.example"
    with serve(ServerConfig(cors_origins=("*",))) as server:
        assert ask(server, "GET", "/v1/models", origin="https://b.example")[0] == 200


def test_other_hosts_where_they_were_allowed(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(hosts=("speech.example",))) as server:
        assert ask(server, "GET", "/v1/models", host="speech.example")[0] == 200
        assert ask(server, "GET", "/v1/models", host="localhost")[0] == 403
    with serve(ServerConfig(hosts=("*",))) as server:
        assert ask(server, "GET", "/v1/models", host="anything.example")[0] == 200
        # Open to everyone does not mean to the pages of every site.
        assert ask(server, "GET", "/v1/models", host="a.example", origin="http://a.example")[0] == 200
        assert ask(server, "GET", "/v1/models", host="a.example", origin="http://b.example")[0] == 403


def test_with_keys_the_key_decides(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(keys=("secret",))) as server:
        headers = {"host": "a.example", "origin": "https://b.example"}
        assert ask(server, "GET", "/v1/models", **headers)[0] == 401
        assert ask(server, "GET", "/v1/models", authorization="Bearer secret", **headers)[0] == 200
