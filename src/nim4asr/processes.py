"""Work shared out to processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing.connection import wait
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None, chunk: int = 1
) -> Iterator[Result]:
    """``function`` of each item, in order, in as many processes as there are cores unless told; they get
    ``chunk`` items at a time. One worker, or no more than one chunk, is this process itself; so is all where
    processes cannot be given work: they need semaphores, which are not there without shared memory.

    The processes are fresh interpreters. Forked ones would inherit what this one's threads hold, torch's
    among them, and might wait for it for ever. So a script that calls this needs ``if __name__ ==
    "__main__":``.
    """
    rest = iter(items)
    first = list(islice(rest, chunk + 1))
    items = chain(first, rest)
    if workers == 1 or len(first) <= chunk:
        yield from map(function, items)
        return
    spawn = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(workers, spawn, initializer=_end_with_parent)
    except (OSError, ImportError):
        # ``ImportError`` is Python's where the platform has none at all.
        yield from map(function, items)
        return
    with pool:
        yield from pool.map(function, items, chunksize=chunk)


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however: killed, it cannot say so itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()
