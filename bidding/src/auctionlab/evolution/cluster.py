"""Rollouts on many machines, by Ray (the extra `cluster`; docs/cluster.md).

Days and rules are put into Ray's store once. In each step a task gets the center, the number of the step and
which profiles to play, draws their noise itself, and sends back their sums. A task has no state: Ray runs
those of a worker that died again elsewhere, which changes nothing but time.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auctionlab.evolution.rollouts import Profiles, Table

Floats = NDArray[np.float64]


def _play(table: Table, day: int, profiles: Profiles, which: list[int]) -> Floats:
    return table.play(day, profiles, which)


class Cluster:
    """Rollouts by the tasks of a Ray cluster; give it to `auctionlab.evolution.games.train` as `rollouts`."""

    def __init__(self, table: Table, *, tasks: int | None = None) -> None:
        """Play on a table, in so many tasks a step; None for one a core of the cluster.

        Connects to the cluster that `ray.init` was called for, or starts one of this machine's cores.
        Raises ModuleNotFoundError where Ray is not installed, ValueError for fewer than one task.
        """
        if importlib.util.find_spec("ray") is None:
            raise ModuleNotFoundError("a cluster needs Ray: pip install 'auctionlab[cluster]'")
        if tasks is not None and tasks < 1:
            raise ValueError(f"at least one task is needed, not {tasks}")
        ray: Any = importlib.import_module("ray")
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
        self._ray = ray
        self._tasks = tasks or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        self._table = ray.put(table)
        self._play = ray.remote(max_retries=-1)(_play)

    def __call__(self, day: int, profiles: Profiles) -> Floats:
        """The sums (P + 1, A, 6) of all profiles on a day."""
        shared = self._ray.put(profiles)
        pieces = [
            piece.tolist() for piece in np.array_split(np.arange(profiles.count), self._tasks) if piece.size
        ]
        waiting = [self._play.remote(self._table, day, shared, which) for which in pieces]
        return np.concatenate(self._ray.get(waiting))
