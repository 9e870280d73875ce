"""Progress bars: on stderr, after two seconds, and only for a person watching."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int | None = None, done: int = 0) -> Iterator[Item]:
    """``items``, counted on a bar named ``what`` if stderr is a terminal."""
    from tqdm import tqdm

    yield from tqdm(
        items,
        desc=what,
        total=total,
        initial=done,
        delay=2.0,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        leave=False,
    )
