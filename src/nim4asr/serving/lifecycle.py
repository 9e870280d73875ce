"""How a server ends: it drains, when nothing new is admitted, and then closes, when what is open must end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto

from nim4asr.serving.errors import ApiError, EndedError, busy

# By then the next instance is there, or a load balancer sends what is new elsewhere.
_RETRY_S = 30
_RETRY = {"Retry-After": str(_RETRY_S)}


class Phase(Enum):
    """What a server does with what is new and with what is open."""

    SERVING = auto()
    DRAINING = auto()
    CLOSING = auto()


class Lifecycle:
    """The phase of a server, usable from any thread and any loop."""

    def __init__(self) -> None:
        self._phase = Phase.SERVING
        self._lock = threading.Lock()
        self._open: set[tuple[asyncio.AbstractEventLoop, asyncio.Timeout]] = set()

    @property
    def phase(self) -> Phase:
        return self._phase

    def drain(self) -> None:
        """Admit nothing new."""
        with self._lock:
            if self._phase is Phase.SERVING:
                self._phase = Phase.DRAINING

    def close(self) -> None:
        """End what is open: every ``until_closing`` block."""
        with self._lock:
            self._phase = Phase.CLOSING
            for loop, limit in self._open:
                call_in_loop(loop, _expire, loop, limit)

    @asynccontextmanager
    async def until_closing(self) -> AsyncIterator[None]:
        """A block that is cancelled when the server closes, and then raises ``EndedError`` 503."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)
        try:
            async with limit:
                with self._lock:
                    self._open.add((loop, limit))
                    closing = self._phase is Phase.CLOSING
                if closing:
                    _expire(loop, limit)
                yield
        except TimeoutError:
            if limit.expired():
                raise EndedError(503, "the server stops", "server_stopping", headers=_RETRY) from None
            raise
        finally:
            with self._lock:
                self._open.discard((loop, limit))


def call_in_loop(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    """Have ``loop`` call ``function``, from any thread; nothing where the loop has ended, and with it whoever
    was to hear of it.
    """
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


def stopping() -> ApiError:
    """503: the server is about to stop."""
    return busy("the server is about to stop", _RETRY_S)


def _expire(loop: asyncio.AbstractEventLoop, limit: asyncio.Timeout) -> None:
    if not limit.expired():
        limit.reschedule(loop.time())
