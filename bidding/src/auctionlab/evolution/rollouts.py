"""Playing the profiles of a step: on the cores of this machine here, on many machines in `cluster`.

What is sent out is the center of the search and the number of its step; noise is drawn from these and the
seed wherever a profile is played. What comes back is each profile's sums. So it does not matter who plays
which profile, or how often: the sums are the same to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.mechanism import Rules
from auctionlab.auction.population import clear_population
from auctionlab.evolution.policy import Policies
from auctionlab.evolution.strategy import Search, noise
from auctionlab.market.market import Market

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Profiles:
    """The P + 1 profiles of a step: P perturbed ones, and last the center itself."""

    search: Search
    """Settings of the search: seed, spread, number of profiles."""
    theta: Floats
    """(G, D, 3) the center."""
    iteration: int
    """The step."""
    common: float
    """Share of the noise's variance that all groups have in common."""

    @property
    def count(self) -> int:
        """P + 1."""
        return self.search.profiles + 1

    def noise(self) -> Floats:
        """(P, G, D, 3) the noise of the perturbed ones."""
        return noise(self.search, self.iteration, self.theta.shape, common=self.common)

    def thetas(self) -> Floats:
        """(P + 1, G, D, 3) logarithms of weights of all profiles."""
        return np.concatenate([self.theta + self.search.spread * self.noise(), self.theta[None]])


@dataclass(frozen=True, eq=False)
class Table:
    """What profiles are played on."""

    days: tuple[Market, ...]
    """The days."""
    policies: Policies
    """How logarithms become weights."""
    budgets: Floats
    """(A,) money for a day."""
    rules: Rules
    """Rules of the auctions."""

    def play(self, day: int, profiles: Profiles, which: Sequence[int], *, threads: int = 1) -> Floats:
        """The sums (len(which), A, 6) of some of the profiles on a day."""
        weights = self.policies.weights(profiles.thetas()[list(which)])
        return clear_population(
            self.days[day], weights, self.policies.units, self.budgets, self.rules, threads=threads
        )


class Rollouts(Protocol):
    """What plays profiles."""

    def __call__(self, day: int, profiles: Profiles) -> Floats:
        """The sums (P + 1, A, 6) of all profiles on a day."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads:
    """Rollouts on the cores of this machine."""

    def __init__(self, table: Table, threads: int | None = None) -> None:
        """Play on a table with so many threads; None for a thread a core."""
        self._table, self._threads = table, cores() if threads is None else threads

    def __call__(self, day: int, profiles: Profiles) -> Floats:
        """The sums (P + 1, A, 6)."""
        return self._table.play(day, profiles, range(profiles.count), threads=self._threads)
