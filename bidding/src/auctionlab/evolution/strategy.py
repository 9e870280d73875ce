"""Joint evolution strategy: all groups are perturbed at once, and one set of rollouts serves them all.

With antithetic noise e (P, G, ...) and each group's fitness in every profile F (P, G), a group's step is the
mean of its noise weighted by the centered ranks of its own fitness; the others' noise averages out. Steps go
through Adam (Kingma and Ba 2015). Noise is drawn anew from the seed and the number of the iteration, so that
a search goes on from a checkpoint, or on any number of machines, as if nothing had happened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Search:
    """Settings of the search."""

    profiles: int = 32
    """P, rollouts in an iteration; even, as noise comes in pairs."""
    spread: float = 0.1
    """Standard deviation of the noise on the logarithms of weights."""
    rate: float = 0.1
    """Adam's step at the start; it falls to a tenth of it."""
    iterations: int = 240
    """Steps."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        if self.profiles < 2 or self.profiles % 2:
            raise ValueError(f"profiles must be even, and at least 2, not {self.profiles}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {self.iterations}")
        if not (0 < self.spread <= 10 and 0 < self.rate <= 10):
            raise ValueError("spread and rate must be above 0, and at most 10")
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True, eq=False)
class State:
    """Where a search stands."""

    theta: Floats
    """(G, ...) the center."""
    mean: Floats
    """Adam's first moment."""
    square: Floats
    """Adam's second moment."""
    iteration: int = 0
    """Steps done."""

    @classmethod
    def start(cls, theta: Floats) -> State:
        """Before the first step."""
        return cls(theta.copy(), np.zeros_like(theta), np.zeros_like(theta))


def noise(search: Search, iteration: int, shape: tuple[int, ...], *, common: float = 0.0) -> Floats:
    """(P, *shape) the noise of a step: a half, and its negative; the shape begins with G.

    `common` is the share of its variance that all groups have in common. Where all want the same, this tries
    out that all move together, which one group's noise among many hardly shows. Where they do not, it would
    credit each with what the others do: leave it at 0.
    """
    chance = np.random.default_rng([search.seed, iteration])
    half = chance.standard_normal((search.profiles // 2, *shape))
    if common > 0:
        shared = chance.standard_normal((search.profiles // 2, 1, *shape[1:]))
        half = np.sqrt(1 - common) * half + np.sqrt(common) * shared
    return np.concatenate([half, -half])


def centered_ranks(fitness: Floats) -> Floats:
    """(P, G) ranks from -1/2 to 1/2 within each column; equal values share their mean rank."""
    count = fitness.shape[0]
    below = (fitness[None] < fitness[:, None]).sum(axis=1)
    equal = (fitness[None] == fitness[:, None]).sum(axis=1)
    return np.asarray((below + (equal - 1) / 2) / (count - 1) - 0.5)


def step(search: Search, state: State, drawn: Floats, fitness: Floats) -> State:
    """The next state, from the noise that was drawn and each group's fitness (P, G) under it."""
    ranks = centered_ranks(fitness)
    ranks = ranks.reshape(*ranks.shape, *[1] * (drawn.ndim - 2))
    slope = (ranks * drawn).mean(axis=0) / search.spread
    count = state.iteration + 1
    mean = 0.9 * state.mean + 0.1 * slope
    square = 0.99 * state.square + 0.01 * slope**2
    ahead = (mean / (1 - 0.9**count)) / (np.sqrt(square / (1 - 0.99**count)) + 1e-8)
    rate = search.rate * (1 - 0.9 * state.iteration / search.iterations)
    return State(state.theta + rate * ahead, mean, square, count)
