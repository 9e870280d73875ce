"""Connections that do nothing: their time, their number, and what a lack of descriptors says."""

import asyncio
import errno
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn
from websockets.sync.client import connect

from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.connections import Config, Socket, most_connections
from serving.conftest import PATIENCE_S, Log, Running
from serving.test_application import ask


def raw(server: Running, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
    connection.sendall(data)
    return connection


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    found = b""
    try:
        while data := connection.recv(1 << 16):
            found += data
    except ConnectionResetError:
        pass
    return found


def bounds(server: Running) -> Config:
    config = server.serving.config
    assert isinstance(config, Config)
    return config


@pytest.fixture
def hasty(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server whose clients have half a second for a head, and to read."""
    for name in ("_HEAD_S", "_STALL_S", "_LINGER_S"):
        monkeypatch.setattr(f"nim4asr.serving.connections.{name}", 0.5)
    with serve() as server:
        yield server


@pytest.mark.parametrize(
    "head", [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nhost: localhost\r\n"]
)
def test_a_head_that_does_not_come(hasty: Running, head: bytes, log: Log) -> None:
    with raw(hasty, head) as connection:
        assert b"408" in rest(connection)
    assert not bounds(hasty).waiting and not log.faults


def test_a_body_that_is_no_http(serve: Callable[..., Any], log: Log) -> None:
    """The client has its answer, and the log no fault, whether the application has begun its own or not."""
    head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
    with serve() as server:
        for kind in (
            b"",
            b"content-type: multipart/form-data; boundary=x\r\n",
            b"content-type: text/plain\r\n",
        ):
            with raw(server, head + kind + b"\r\nzz\r\n") as connection:
                assert b" 400 " in rest(connection)
            # The answer comes first, then what is no HTTP.
            with raw(
                server, b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + kind + b"\r\n\0\r\n\r\n"
            ) as connection:
                assert rest(connection)
        assert ask(server, "GET", "/health")[0] == 200
    assert not log.faults


def test_an_answer_to_a_body_that_is_no_http(log: Log) -> None:
    """An application that answers without reading is not told that its answer failed."""
    answered = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
            answered.set()

    async def asked() -> bytes:
        server = uvicorn.Server(Config(application, port=0, lifespan="off", log_config=None))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        found = await reader.read()
        writer.close()
        await asyncio.wait_for(answered.wait(), PATIENCE_S)
        server.should_exit = True
        await running
        return found

    assert b" 400 " in asyncio.run(asked())
    assert not log.faults


def test_a_head_that_dribbles_in(hasty: Running) -> None:
    """Each byte is one, and buys no time."""
    ended = threading.Event()

    def dribble(connection: socket.socket) -> None:
        try:
            while not ended.wait(0.02):
                connection.sendall(b"x")
        except OSError:
            pass

    with raw(hasty, b"GET / HTTP/1.1\r\nx: ") as connection:
        thread = threading.Thread(target=dribble, args=(connection,))
        thread.start()
        assert b"408" in rest(connection)
        ended.set()
        thread.join(PATIENCE_S)


def test_a_second_head_that_does_not_come(hasty: Running) -> None:
    with raw(hasty, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\nGET ") as connection:
        assert b"200 OK" in (found := rest(connection)) and b"408" in found


def test_a_session_outlives_the_time_for_a_head(hasty: Running) -> None:
    with connect(f"{hasty.ws_url}/v1/realtime") as live:
        assert json.loads(live.recv(timeout=PATIENCE_S))["type"] == "session.created"
        with raw(hasty) as other:
            rest(other)
        live.send("{}")
        assert json.loads(live.recv(timeout=PATIENCE_S))["type"] == "error"


def test_an_answer_that_is_not_read(hasty: Running, log: Log) -> None:
    """It is cut off, and the request with it is over."""
    request = b"GET /page/page.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with raw(hasty) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        try:
            # Pipelined, until nobody takes any more.
            while True:
                connection.sendall(request * 100)
        except OSError:
            pass
        connection.settimeout(PATIENCE_S)
        rest(connection)
    hasty.settle()
    assert ask(hasty, "GET", "/health")[0] == 200


def test_who_waits_longest_makes_room(serve: Callable[..., Any]) -> None:
    """Three hundred who say nothing keep nobody out."""
    with serve() as server, ExitStack() as stack:
        bounds(server).max_connections = 20
        silent = [stack.enter_context(raw(server, b"GET ")) for _ in range(300)]
        for _ in range(5):
            assert ask(server, "GET", "/health")[0] == 200
        # The first ones have been closed, the last ones wait on.
        assert rest(silent[0]) == b""
        assert len(server.serving.server_state.connections) <= 21


def test_where_all_are_at_work_a_new_one_is_told_so(serve: Callable[..., Any], log: Log) -> None:
    with serve(ServerConfig()) as server, ExitStack() as stack:
        bounds(server).max_connections = 2
        for _ in range(2):
            live = stack.enter_context(connect(f"{server.ws_url}/v1/realtime"))
            live.recv(timeout=PATIENCE_S)
        with raw(server) as connection:
            found = rest(connection)
        assert found.startswith(b"HTTP/1.1 503") and json.loads(found.partition(b"\r\n\r\n")[2])["error"]
    assert not log.faults


def test_a_lack_of_descriptors_is_told_once(nano: Running, log: Log) -> None:
    loop = asyncio.new_event_loop()
    context = {
        "message": "socket.accept() out of system resource",
        "exception": OSError(errno.EMFILE, "Too many open files"),
    }
    nano.serving._quiet_until = 0.0
    for _ in range(2048):
        nano.serving._loop_failed(loop, context)
    assert [record.exc_info for record in log.records] == [None] and "ulimit" in log.records[0].getMessage()
    nano.serving._loop_failed(loop, {"message": "something else", "exception": ValueError("x")})
    assert log.records[-1].exc_info
    loop.close()


def test_there_is_room_for_some_connections_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (120, 120))
    assert 8 <= most_connections(10) < 100
    monkeypatch.setattr("resource.getrlimit", lambda which: (20, 20))
    assert most_connections(10) == 8


def test_pings_are_not_missed_while_nobody_reads_them(model: Any) -> None:
    """A client whose sound waits to be heard is not read from, and so cannot be heard to answer pings."""
    closed: list[str] = []

    class Transport(asyncio.Transport):
        def close(self) -> None:
            closed.append("close")

        def abort(self) -> None:
            closed.append("abort")

        def is_closing(self) -> bool:
            return False

        def write(self, data: Any) -> None:
            pass

    async def run() -> None:
        from uvicorn.server import ServerState

        async def app(scope: Any, receive: Any, send: Any) -> None:
            pass

        config = Config(app, ws_ping_timeout=0.01, log_config=None)
        config.linger_s = 0.01
        config.load()
        protocol = Socket(config, ServerState(), {})
        protocol.transport = Transport()
        protocol.read_paused = True
        protocol.keepalive_timeout()
        await asyncio.sleep(0.1)
        assert closed == []
        protocol.read_paused = False
        while "abort" not in closed:
            await asyncio.sleep(0.01)
        protocol.stop_keepalive()

    asyncio.run(run())
    assert closed == ["close", "abort"]
