"""Items packed into batches by their cost, in an order that a step number fixes."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.random import Generator, default_rng

Item = TypeVar("Item")


def pack(items: Sequence[Item], costs: Sequence[float], most: float, random: Generator) -> list[list[Item]]:
    """Batches of items alike in cost, in random order.

    A batch costs its dearest item times their number, as padding makes it, and at most ``most`` unless one
    item alone costs more.
    """
    # Sorting by a cost with noise in it mixes the neighbors differently every time.
    order = np.argsort(np.asarray(costs) * random.uniform(0.9, 1.1, len(costs)))
    batches: list[list[Item]] = []
    dearest = 0.0
    for index in order:
        dearest = max(dearest, costs[index])
        if not batches or dearest * (len(batches[-1]) + 1) > most:
            batches.append([])
            dearest = costs[index]
        batches[-1].append(items[index])
    random.shuffle(batches)
    return batches


class Epochs(Generic[Item]):
    """Epochs of batches without end. An epoch depends on ``seed`` and its number alone.

    ``draw(number, random)`` gives the batches of the epoch ``number``. One epoch is held in memory, and where
    each begins is remembered, so that steps in order draw every epoch once.
    """

    def __init__(self, draw: Callable[[int, Generator], list[list[Item]]], seed: int) -> None:
        self._draw, self._seed = draw, seed
        self._begins = [0]
        self._held: tuple[int, list[list[Item]]] = (-1, [])

    def epoch(self, number: int) -> list[list[Item]]:
        """The batches of one epoch. Raises ``ValueError`` if it has none."""
        if self._held[0] != number:
            self._held = (number, self._draw(number, default_rng([self._seed, number])))
        if not self._held[1]:
            raise ValueError("there is nothing to make batches of")
        return self._held[1]

    def batch(self, step: int) -> list[Item]:
        """The batch of the step ``step``, counted from 0 over all epochs."""
        number = bisect_right(self._begins, step) - 1
        while step >= (next_begin := self._begins[number] + len(self.epoch(number))):
            self._begins.append(next_begin)
            number += 1
        return self.epoch(number)[step - self._begins[number]]
