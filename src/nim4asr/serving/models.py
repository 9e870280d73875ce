"""The models of one server: the first is there from the start, others are loaded when they are asked for and
go when nobody has used them for a while, and any may be replaced while sessions go on.

Each has an engine and threads of its own. Whoever uses one holds a ``Lease``; a model that is replaced or
unloaded ends when its last lease is given back. Loading takes a thread of its own, and whoever asks for a
model meanwhile waits for that one.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future

from nim4asr.errors import InputError
from nim4asr.serving.errors import ApiError, busy
from nim4asr.serving.lifecycle import stopping
from nim4asr.serving.logs import SERVER
from nim4asr.serving.worker import EngineWorker

Make = Callable[[], EngineWorker]
# A model that could not be loaded is not tried again before so many seconds are over.
_RETRY_S = 10.0


class Lease:
    """A model in use, until ``release``, which may be called again."""

    def __init__(self, worker: EngineWorker, release: Callable[[], None]) -> None:
        self.worker, self._release = worker, release
        self._lock = threading.Lock()
        self._held = True

    def release(self) -> None:
        """Give it back."""
        with self._lock:
            held, self._held = self._held, False
        if held:
            self._release()


class Models:
    """Models by name, usable from any thread. ``name`` is the first, run by ``worker``; ``others`` are made
    when they are asked for, and end ``unload_s`` after their last use.
    """

    def __init__(
        self,
        name: str,
        worker: EngineWorker,
        others: Mapping[str, Make] | None = None,
        unload_s: float = 600.0,
    ) -> None:
        self.default, self._unload_s = name, unload_s
        # Guards what follows it.
        self._lock = threading.Lock()
        # All that have not ended, those that were replaced and are still used among them.
        self._alive = {first := _Loaded(worker)}
        self._slots = {name: _Slot(None, first)}
        self._slots |= {other: _Slot(make) for other, make in (others or {}).items() if other != name}
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the first one first."""
        return tuple(self._slots)

    @property
    def workers(self) -> list[EngineWorker]:
        """Those in memory, with those that have been replaced and are still used."""
        with self._lock:
            return [loaded.worker for loaded in self._alive]

    @property
    def worker(self) -> EngineWorker:
        """The first one's."""
        loaded = self._slots[self.default].loaded
        assert loaded is not None
        return loaded.worker

    @property
    def late_s(self) -> float:
        """How far live speech is behind its own pace, in the model where it is most."""
        return max((worker.late_s for worker in self.workers), default=0.0)

    def lease(self, name: str) -> Lease | None:
        """The model ``name``, one of ``names``, at once; None if it is not loaded."""
        with self._lock:
            loaded = self._slots[name].loaded
            if loaded is None:
                return None
            loaded.leases += 1
        return Lease(loaded.worker, lambda: self._released(loaded))

    def load(self, name: str) -> "Future[None]":
        """Load the model ``name``, if nobody does; done when it is there. Fails with ``ApiError`` 503 if it
        cannot be loaded.
        """
        slot = self._slots[name]
        with self._lock:
            if slot.loading is not None:
                if not slot.loading.done() or time.monotonic() < slot.retry_at:
                    return slot.loading
                slot.loading = None
            future: Future[None] = Future()
            # Whoever waits for it may stop doing so, and cannot cancel it for others.
            future.set_running_or_notify_cancel()
            if slot.loaded is not None:
                future.set_result(None)
                return future
            slot.loading = future
        threading.Thread(target=self._load, args=(name, future), name="loading", daemon=True).start()
        return future

    def replace(self, name: str, make: Make) -> None:
        """Serve what is new with what ``make`` makes, which takes as long as loading does; sessions that are
        open go on with what they have. One that is not loaded is not loaded for that. Raises what ``make``
        raises, and then nothing has changed.
        """
        slot = self._slots[name]
        with slot.replacing:
            with self._lock:
                is_loaded = slot.loaded is not None
            worker = make() if is_loaded else None
            with self._lock:
                slot.make, slot.retry_at = make, 0.0
                # What is being loaded is the old one.
                slot.loading = None
                old, slot.loaded = slot.loaded, self._added(worker)
                self._retire(old)

    def unload_idle(self) -> list[str]:
        """End those that nobody has used for long, but for the first; their names."""
        ended = []
        with self._lock:
            for name, slot in self._slots.items():
                old = slot.loaded
                if name == self.default or old is None or old.leases:
                    continue
                if time.monotonic() - old.used >= self._unload_s:
                    slot.loaded = None
                    self._retire(old)
                    ended.append(name)
        return ended

    def close(self) -> None:
        """End all of them; what is under way is given up."""
        with self._lock:
            self._closed = True
        for worker in self.workers:
            worker.close()

    def _load(self, name: str, future: "Future[None]") -> None:
        slot = self._slots[name]
        worker, error = None, None
        try:
            assert slot.make is not None
            worker = slot.make()
        except Exception as failed:
            # The reason is the log's: it may hold folders of the server.
            SERVER.error(
                "the model %s cannot be loaded: %s",
                name,
                failed,
                exc_info=None if isinstance(failed, InputError) else failed,
            )
            error = busy(f"the model {name!r} cannot be loaded now; the server's log has the reason", 60)
        with self._lock:
            wanted = slot.loading is future and not self._closed
            if self._closed:
                error = stopping()
            elif not wanted:
                # It was replaced meanwhile: whoever waits asks again.
                error = None
            if wanted:
                slot.loading, slot.retry_at = (future, time.monotonic() + _RETRY_S) if error else (None, 0.0)
                slot.loaded = self._added(worker)
        if worker is not None and not wanted:
            worker.close()
        _settle(future, error)

    def _added(self, worker: EngineWorker | None) -> "_Loaded | None":
        """Keep account of ``worker``; while ``_lock`` is held."""
        if worker is None:
            return None
        loaded = _Loaded(worker)
        self._alive.add(loaded)
        if self._closed:
            self._retire(loaded)
        return loaded

    def _released(self, loaded: "_Loaded") -> None:
        with self._lock:
            loaded.leases -= 1
            loaded.used = time.monotonic()
            if loaded.retired:
                self._retire(loaded)

    def _retire(self, loaded: "_Loaded | None") -> None:
        """End it when nobody uses it any more; while ``_lock`` is held."""
        if loaded is None:
            return
        loaded.retired = True
        if not loaded.leases:
            # It may be one of its own threads that has given it back last, and those are waited for.
            threading.Thread(target=self._end, args=(loaded,), name="unloading", daemon=True).start()

    def _end(self, loaded: "_Loaded") -> None:
        loaded.worker.close()
        with self._lock:
            self._alive.discard(loaded)


class _Slot:
    """A name, and what is loaded under it; guarded by the models' lock."""

    def __init__(self, make: Make | None, loaded: "_Loaded | None" = None) -> None:
        self.make, self.loaded = make, loaded
        # The loading under way, or the one that has failed, which is good until ``retry_at``.
        self.loading: Future[None] | None = None
        self.retry_at = 0.0
        # Held while another model is made ready in its place.
        self.replacing = threading.Lock()


class _Loaded:
    """A model in memory, and how many use it; guarded by the models' lock."""

    def __init__(self, worker: EngineWorker) -> None:
        self.worker = worker
        self.leases, self.used, self.retired = 0, time.monotonic(), False


def _settle(future: "Future[None]", error: ApiError | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
