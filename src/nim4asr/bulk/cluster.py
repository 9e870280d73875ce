"""Workers on the machines of a Ray cluster, an actor each, fed by Ray Data."""

import json
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from nim4asr.bulk.plan import Report, Task
from nim4asr.errors import InputError
from nim4asr.files import reason

# Nothing but names and reports goes through Ray's store; by default it takes a third of the memory.
_STORE_BYTES = 256 * 1024 * 1024
# So long an address may take to answer.
_PATIENCE_S = 10.0


class Pool(Protocol):
    """Workers that are there."""

    @property
    def workers(self) -> int:
        """How many."""

    def reports(self, work: Callable[[Task], Report], tasks: Sequence[Task]) -> Iterator[Report]:
        """Do the ``tasks``, each by a worker with a ``work`` of its own; reports come as they are done."""


@dataclass(frozen=True)
class Cluster:
    """Where a job runs, and on how much of it.

    ``address`` is ``"local"``, all cores of this machine; ``"auto"``, the cluster that this machine is in;
    or the ``HOST:PORT`` of a cluster that it is in. A worker has ``cpus_per_worker`` cores and
    ``gpus_per_worker`` GPUs, or parts of one; there are as many ``workers`` as the cluster has room for
    unless told.
    """

    address: str = "local"
    workers: int | None = None
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError(f"at least one worker is needed, not {self.workers}")
        if not 0 < self.cpus_per_worker < 1e6 or not 0 <= self.gpus_per_worker < 1e6:
            raise InputError("a worker needs more than 0 cores, and 0 GPUs or more")

    @contextmanager
    def connected(self) -> Iterator[Pool]:
        """The workers of the cluster, or of the one that this process is connected with already. Raises
        ``InputError`` if there is none, and if it has no room for a worker.
        """
        import ray

        begun = not ray.is_initialized()
        if begun:
            self._begin(ray)
        try:
            yield _RayPool(self, self.workers or self._room(ray.cluster_resources()))
        finally:
            if begun:
                ray.shutdown()

    def _begin(self, ray: Any) -> None:
        asked: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self.address == "local":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            asked |= {
                "num_cpus": max(cores, math.ceil((self.workers or 0) * self.cpus_per_worker)),
                "include_dashboard": False,
                "object_store_memory": _STORE_BYTES,
            }
        elif self.address != "auto":
            self._reach()
        # Its logs have all of it; on stderr Ray would warn of how Ray Data starts actors.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        try:
            ray.init(address=self.address, **asked)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise self._nowhere(error) from None
        finally:
            if main and before is not None:
                # Ray's own ends the process at once.
                signal.signal(signal.SIGTERM, before)

    def _reach(self) -> None:
        """Raises ``InputError`` for what is no address, and if nobody listens: Ray would try for minutes."""
        if self.address.startswith("ray://"):
            raise InputError(
                f"{self.address}: Ray Data does not work through Ray's client; run this on a machine of the "
                "cluster, with the address auto"
            )
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise InputError(f"{self.address!r} is no address of a Ray cluster: local, auto or HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
        except OSError as error:
            raise self._nowhere(error) from None

    def _nowhere(self, error: Exception) -> InputError:
        return InputError(
            f"there is no Ray cluster at {self.address} ({reason(error)}); start one with ray start --head, "
            "or take local for this machine alone"
        )

    def _room(self, resources: dict[str, float]) -> int:
        """For how many workers there is room."""
        by_cores = resources.get("CPU", 0.0) / self.cpus_per_worker
        by_gpus = resources.get("GPU", 0.0) / self.gpus_per_worker if self.gpus_per_worker else by_cores
        room = int(min(by_cores, by_gpus) + 1e-6)
        if room < 1:
            raise InputError(
                f"the cluster has {resources.get('CPU', 0):g} cores and {resources.get('GPU', 0):g} GPUs, "
                f"too little for a worker of {self.cpus_per_worker:g} and {self.gpus_per_worker:g}; if more "
                "machines are to come, say how many workers"
            )
        return room


@dataclass(frozen=True)
class _RayPool:
    cluster: Cluster
    workers: int

    def reports(self, work: Callable[[Task], Report], tasks: Sequence[Task]) -> Iterator[Report]:
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayError

        context = DataContext.get_current()
        bars, context.enable_progress_bars = context.enable_progress_bars, False
        logger = logging.getLogger("ray.data")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            # A block a task: it is what a worker is given, and what is done again if the worker is killed.
            rows = [{"task": task.to_json()} for task in tasks]
            dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
            # Ray Data starts actors that were killed again, and gives their tasks to others, without an end;
            # the worker itself gives up an audio that kills it.
            done = dataset.map_batches(
                _Actor,
                fn_constructor_args=(work,),
                batch_size=1,
                compute=ActorPoolStrategy(size=min(self.workers, len(rows)), max_tasks_in_flight_per_actor=1),
                num_cpus=self.cluster.cpus_per_worker,
                num_gpus=self.cluster.gpus_per_worker or None,
            )
            for row in done.iter_rows():
                answer = json.loads(row["report"])
                if "refused" in answer:
                    raise InputError(answer["refused"])
                yield Report.from_json(row["report"])
        except RayError as error:
            raise InputError(
                f"the cluster has failed ({reason(error)}); run the same command again to go on"
            ) from error
        finally:
            context.enable_progress_bars = bars
            logger.setLevel(level)


class _Actor:
    """A worker as Ray Data calls it: columns in, columns out."""

    def __init__(self, work: Callable[[Task], Report]) -> None:
        self._work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"report": [self._done(Task.from_json(str(task))) for task in batch["task"]]}

    def _done(self, task: Task) -> str:
        try:
            return self._work(task).to_json()
        except InputError as error:
            # Not raised: Ray would show a trace of its own.
            return json.dumps({"refused": str(error)})
