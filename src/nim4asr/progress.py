"""How long work takes is shown by its caller, who knows whether a person or a log is watching."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class ProgressReporter(Protocol):
    """Passes ``items`` through and counts them: ``what`` they are, ``total`` of them, ``done`` before."""

    def __call__(
        self, items: Iterable[Item], what: str, total: int | None = None, done: int = 0
    ) -> Iterator[Item]: ...


def no_progress(items: Iterable[Item], what: str, total: int | None = None, done: int = 0) -> Iterator[Item]:
    """Counts nothing."""
    return iter(items)
