"""A proxy that the environment names is not in the way of what stands on this machine."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from nim4asr.addresses import is_loopback
from nim4asr.data.keywords import filtered
from nim4asr.errors import InputError

OWN = ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
OTHERS = ["example.org", "localhost.example.org", "10.0.0.1", "0.0.0.0", "", None, "128.0.0.1"]


@pytest.mark.parametrize(("host", "own"), [*((h, True) for h in OWN), *((h, False) for h in OTHERS)])
def test_which_are_our_own(host: str | None, own: bool) -> None:
    assert is_loopback(host) == own


@contextmanager
def endpoint() -> Iterator[int]:
    """A language model that keeps every keyword; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept = asked["messages"][0]["content"].splitlines()[-1]
            data = json.dumps({"choices": [{"message": {"content": kept}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment whose proxy does not answer."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("proxied")
def test_a_filter_of_keywords_on_this_machine() -> None:
    with endpoint() as port:
        assert filtered(["北京", "上海"], f"http://127.0.0.1:{port}/v1", "m") == ["北京", "上海"]
    with pytest.raises(InputError, match="does not answer"):
        filtered(["北京"], "http://example.invalid/v1", "m")


@pytest.mark.usefixtures("proxied")
def test_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("websockets.sync.client")
    from websockets.sync.server import serve

    from nim4asr.serving.client import ClientOptions, stream_to_server

    with serve(lambda socket: socket.close(1008, "heard you"), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        options = ClientOptions(f"http://127.0.0.1:{server.socket.getsockname()[1]}")
        try:
            with pytest.raises(InputError, match=r"the server (ended the session|closed the connection)"):
                list(stream_to_server([], options))
        finally:
            server.shutdown()
            thread.join()
    asked: list[Any] = []
    monkeypatch.setattr(client, "connect", lambda url, **options: asked.append(options["proxy"]) or 1 / 0)
    for host, proxy in (("localhost:8000", None), ("example.org", True)):
        with pytest.raises(ZeroDivisionError):
            list(stream_to_server([], ClientOptions(host)))
        assert asked[-1] is proxy
