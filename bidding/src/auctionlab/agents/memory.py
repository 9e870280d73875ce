"""Replay memory: the last transitions of n ads that act in step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Batch:
    """Transitions of all ads (n, B, ...)."""

    observations: Singles
    """(n, B, inputs)."""
    actions: NDArray[np.int64]
    """(n, B)."""
    rewards: Singles
    """(n, B)."""
    following: Singles
    """(n, B, inputs) the observations after."""
    ended: NDArray[np.bool_]
    """(n, B) whether the day was over for the ad."""
    counts: NDArray[np.bool_]
    """(n, B) whether the ad was still in the day; what comes after its end is not learned from."""


class Memory:
    """A ring of the last `capacity` steps; all ads' transitions of a step stand in one entry."""

    def __init__(self, capacity: int, ads: int, inputs: int) -> None:
        """An empty memory. ValueError where the capacity is below one."""
        if capacity < 1:
            raise ValueError(f"a memory must hold at least one step, not {capacity}")
        self.capacity = capacity
        self.size = 0
        self.place = 0
        self.observations = np.zeros((capacity, ads, inputs), np.float32)
        self.following = np.zeros((capacity, ads, inputs), np.float32)
        self.actions = np.zeros((capacity, ads), np.int64)
        self.rewards = np.zeros((capacity, ads), np.float32)
        self.ended = np.zeros((capacity, ads), np.bool_)
        self.counts = np.zeros((capacity, ads), np.bool_)

    def add(
        self,
        observations: NDArray[np.floating],
        actions: NDArray[np.int64],
        rewards: NDArray[np.floating],
        following: NDArray[np.floating],
        ended: NDArray[np.bool_],
        counts: NDArray[np.bool_],
    ) -> None:
        """Keep one step of all ads (n, ...), in place of the oldest where the memory is full."""
        place = self.place
        self.observations[place], self.following[place] = observations, following
        self.actions[place], self.rewards[place] = actions, rewards
        self.ended[place], self.counts[place] = ended, counts
        self.place = (place + 1) % self.capacity
        self.size = min(self.size + 1, self.capacity)

    def draw(self, count: int, chance: np.random.Generator) -> Batch:
        """`count` steps with replacement, the same ones for all ads. ValueError while it is empty."""
        if self.size == 0:
            raise ValueError("the memory is empty; nothing can be drawn from it")
        chosen = chance.integers(self.size, size=count)
        return Batch(
            observations=np.ascontiguousarray(self.observations[chosen].swapaxes(0, 1)),
            actions=np.ascontiguousarray(self.actions[chosen].T),
            rewards=np.ascontiguousarray(self.rewards[chosen].T),
            following=np.ascontiguousarray(self.following[chosen].swapaxes(0, 1)),
            ended=np.ascontiguousarray(self.ended[chosen].T),
            counts=np.ascontiguousarray(self.counts[chosen].T),
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that is needed to go on, as arrays; only the filled part of the ring."""
        part = slice(0, self.size)
        return {
            "observations": self.observations[part],
            "following": self.following[part],
            "actions": self.actions[part],
            "rewards": self.rewards[part],
            "ended": self.ended[part],
            "counts": self.counts[part],
            "place": np.array([self.place, self.size]),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Take over what `state` gave."""
        self.place, self.size = (int(number) for number in state["place"])
        for name in ("observations", "following", "actions", "rewards", "ended", "counts"):
            getattr(self, name)[: self.size] = state[name]
