"""Whether there is room for one more live session, or one more recording: one rule for all protocols.

Each takes a *place* before anything else is done for it: before a WebSocket's handshake, before a body is
read. Places are counted over the server and for each client, so that none takes them all, and none is given
while live speech is behind its own pace.
"""

import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from nim4asr.serving.access import Client
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError, busy
from nim4asr.serving.lifecycle import Lifecycle, Phase, stopping


class Place:
    """A place that is taken until ``release``, which may be called again."""

    def __init__(self, client: Client, release: Callable[[Client], None]) -> None:
        self.client, self._release = client, release
        self._lock = threading.Lock()
        self._taken = True

    def release(self) -> None:
        """Give the place back."""
        with self._lock:
            taken, self._taken = self._taken, False
        if taken:
            self._release(self.client)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """Gives places, from any thread. ``late_s`` tells how far live speech is behind its own pace."""

    def __init__(self, config: ServerConfig, lifecycle: Lifecycle, late_s: Callable[[], float]) -> None:
        self._config, self._lifecycle, self._late_s = config, lifecycle, late_s
        self._sessions = _Places(config.max_streams)
        self._recordings = _Places(config.max_recordings + config.max_waiting)
        self._late = False

    @property
    def sessions(self) -> int:
        """Live sessions that have a place."""
        return self._sessions.taken

    @property
    def recordings(self) -> int:
        """Recordings that have a place: being received, waiting, or under way."""
        return self._recordings.taken

    @property
    def late(self) -> bool:
        """Whether live speech is so far behind that nothing new is admitted; over when half of it is made
        good.
        """
        limit = self._config.max_late_s
        self._late = self._late_s() > (limit / 2 if self._late else limit)
        return self._late

    @property
    def refusal(self) -> str | None:
        """Why a new session would be refused now, whoever asks; None if it would not."""
        if self._lifecycle.phase is not Phase.SERVING:
            return "draining"
        if self.late:
            return "late"
        return "full" if self._sessions.full else None

    def session(self, client: Client) -> Place:
        """A place for a live session. Raises ``ApiError`` 503 if there is none."""
        self._check()
        own = client.key.max_streams if client.key else None
        if not self._sessions.take(client, self._share(client, own, self._config.max_streams)):
            raise busy("all live sessions are in use, or all that one client may have; try again later")
        return Place(client, self._sessions.release)

    def recording(self, client: Client) -> Place:
        """A place for a recording. Raises ``ApiError`` 429 if too many wait, 503 as ``session`` does."""
        self._check()
        own = client.key.max_recordings if client.key else None
        most = self._config.max_recordings + self._config.max_waiting
        if not self._recordings.take(client, self._share(client, own, most)):
            raise ApiError(
                429,
                f"{self.recordings} recordings are under way or waiting; try again later",
                "rate_limit_exceeded",
                headers={"Retry-After": "5"},
            )
        return Place(client, self._recordings.release)

    def _check(self) -> None:
        if self._lifecycle.phase is not Phase.SERVING:
            raise stopping()
        if self.late:
            raise busy("live speech is waiting to be recognized; try again later")

    def _share(self, client: Client, own: int | None, most: int) -> int:
        if own is not None:
            return own
        return most if client.local else max(1, int(most * self._config.client_share))


class _Places:
    """``most`` places, counted by client."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self.taken = 0

    @property
    def full(self) -> bool:
        return self.taken >= self._most

    def take(self, client: Client, share: int) -> bool:
        with self._lock:
            if self.full or self._taken[client.id] >= share:
                return False
            self._taken[client.id] += 1
            self.taken += 1
            return True

    def release(self, client: Client) -> None:
        with self._lock:
            self.taken -= 1
            self._taken[client.id] -= 1
            if not self._taken[client.id]:
                del self._taken[client.id]
