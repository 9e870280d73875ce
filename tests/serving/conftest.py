"""A real server on a free port, with the bundled model."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nim4asr.runtime.loading import load
from nim4asr.runtime.network import Model
from nim4asr.serving.application import create_app
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.running import Listening, Server, server
from nim4asr.serving.state import State


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


@contextmanager
def running(
    model: Model,
    config: ServerConfig | None = None,
    lists: HotwordLists | None = None,
    tls: tuple[Path, Path] = (None, None),  # type: ignore[assignment]
) -> Iterator[Running]:
    app = create_app(model, config or ServerConfig(), hotwords=lists)
    serving = server(app, Listening(port=0, certificate=tls[0], private_key=tls[1], drain_s=5.0))
    started = threading.Event()
    genuine = serving.startup

    async def startup(*args: Any, **kwargs: Any) -> None:
        await genuine(*args, **kwargs)
        started.set()

    serving.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(serving.serve()))
    thread.start()
    assert started.wait(30)
    port = serving.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(serving, app.state.nim4, port)
    finally:
        serving.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


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
