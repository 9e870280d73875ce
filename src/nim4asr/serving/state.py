"""What the routes of one server share."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from nim4asr.serving.access import Access
from nim4asr.serving.admission import Admission
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.lifecycle import Lifecycle
from nim4asr.serving.metrics import Metrics
from nim4asr.serving.models import Lease, Models
from nim4asr.serving.worker import EngineWorker

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex


@dataclass(frozen=True)
class State:
    """The engine and what stands around it."""

    models: Models
    config: ServerConfig
    access: Access
    admission: Admission
    hotwords: HotwordLists
    metrics: Metrics
    lifecycle: Lifecycle

    @property
    def worker(self) -> EngineWorker:
        """What runs the first model."""
        return self.models.worker

    def model_of(self, name: str) -> str | None:
        """The model that ``name`` names, itself or an alias of the first; None if there is none."""
        if name in self.models.names:
            return name
        return self.models.default if name in self.config.aliases else None

    async def lease(self, name: str | None = None) -> Lease:
        """The model ``name``, one of ``models.names`` (default: the first). Raises ``ApiError`` 503 if it
        cannot be loaded.
        """
        name = name or self.models.default
        while (lease := self.models.lease(name)) is None:
            # If whoever asks goes meanwhile, it is loaded for the next one.
            await asyncio.wrap_future(self.models.load(name))
        return lease

    async def chosen(
        self, hotwords: str | None, names: Sequence[str]
    ) -> "tuple[tuple[str, ...], HotwordIndex | None]":
        """Hints and an index for the list ``hotwords`` and ``names``. Raises ``ApiError`` if there is no such
        list.
        """
        # Pronouncing takes time, and the loop must not wait.
        return await asyncio.to_thread(self.hotwords.chosen, hotwords, names)


def state_of(connection: HTTPConnection) -> State:
    """The state of the server that got ``connection``."""
    state = connection.app.state.nim4
    assert isinstance(state, State)
    return state
