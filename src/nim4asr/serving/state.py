"""What the routes of one server share."""

import threading
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from nim4asr.serving.access import Access
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.metrics import Metrics
from nim4asr.serving.worker import EngineWorker


@dataclass(frozen=True)
class State:
    """The engine and what stands around it."""

    worker: EngineWorker
    config: ServerConfig
    access: Access
    hotwords: HotwordLists
    metrics: Metrics
    draining: threading.Event = field(default_factory=threading.Event)
    """Set when the server is about to stop: nothing new is admitted."""

    def refuse_if_draining(self) -> None:
        """Raises ``ApiError`` 503 once the server is about to stop."""
        if self.draining.is_set():
            raise ApiError(503, "the server is about to stop", "server_busy", headers={"Retry-After": "30"})


def state_of(connection: HTTPConnection) -> State:
    """The state of the server that got ``connection``."""
    state = connection.app.state.nim4
    assert isinstance(state, State)
    return state
