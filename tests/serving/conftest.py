"""A real server on a free port, with the bundled model."""

import asyncio
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from nim4asr.runtime.loading import load
from nim4asr.runtime.network import Model
from nim4asr.serving.application import create_app
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.running import Listening, Server, server
from nim4asr.serving.state import State

# However busy the machine is; what is waited for comes at once on a quiet one.
PATIENCE_S = 300.0


class Running:
    """A server in a thread."""

    def __init__(self, serving: Server, state: State, port: int) -> None:
        self.serving, self.state, self.port = serving, state, port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def settle(self) -> None:
        """Wait until nothing is left of any session or recording."""
        assert self.state.worker.wait_idle(PATIENCE_S), "a stream, a recording or a slot is left"


@contextmanager
def running(
    model: Model,
    config: ServerConfig | None = None,
    lists: HotwordLists | None = None,
    tls: tuple[Path, Path] = (None, None),  # type: ignore[assignment]
    drain_s: float = 5.0,
    others: Mapping[str, Any] | None = None,
    app: Starlette | None = None,
) -> Iterator[Running]:
    app = app or create_app(model, config or ServerConfig(), hotwords=lists, others=others)
    serving = server(app, Listening(port=0, certificate=tls[0], private_key=tls[1], drain_s=drain_s))
    started = threading.Event()
    genuine = serving.startup

    async def startup(*args: Any, **kwargs: Any) -> None:
        await genuine(*args, **kwargs)
        started.set()

    serving.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(serving.serve()))
    thread.start()
    assert started.wait(PATIENCE_S)
    port = serving.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(serving, app.state.nim4, port)
    finally:
        serving.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until ``condition`` holds, of which nobody tells."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def answer_of(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the next answer on ``connection``."""
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        return response.status, response.read()


@pytest.fixture(scope="session")
def model() -> Model:
    return load()


@pytest.fixture(scope="session")
def nano(model: Model) -> Iterator[Running]:
    with running(model, ServerConfig(aliases=("whisper-1",))) as server:
        yield server


@pytest.fixture
def serve(model: Model) -> Callable[..., Any]:
    """A server with a configuration of its own."""
    return partial(running, model)


class Log(logging.Handler):
    """The records of the server, uvicorn and asyncio; ``wait`` waits for one."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._changed = threading.Condition()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def wait(self, predicate: Callable[[logging.LogRecord], bool]) -> logging.LogRecord:
        """The first record for which ``predicate`` holds, when it is there."""

        def found() -> logging.LogRecord | None:
            return next((record for record in self.records if predicate(record)), None)

        with self._changed:
            record = self._changed.wait_for(found, PATIENCE_S)
        assert record is not None, [record.getMessage() for record in self.records]
        return record

    @property
    def faults(self) -> list[str]:
        """What was logged as an error, or with a traceback."""
        return [
            f"{record.name}: {record.getMessage()} {record.exc_text or record.exc_info or ''}"
            for record in self.records
            if record.levelno >= logging.ERROR or record.exc_info
        ]


@pytest.fixture
def log() -> Iterator[Log]:
    handler = Log()
    loggers = [logging.getLogger(name) for name in ("nim4asr", "uvicorn", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)
