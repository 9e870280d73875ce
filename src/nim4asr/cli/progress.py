"""Progress on stderr: bars, after two seconds, for a person watching; lines for a log."""

import sys
import time
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


def progress_in_lines(
    items: Iterable[Item], what: str, total: int | None = None, done: int = 0, seconds: float = 60.0
) -> Iterator[Item]:
    """``items``, counted on stderr in a line every so many ``seconds``, as a log wants it."""
    from tqdm import tqdm

    began = told = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - told >= seconds or done + count == total:
            told = now
            of = ""
            if total is not None:
                left = tqdm.format_interval((total - done - count) * (now - began) / count)
                of = f" of {total}, {left} left"
            clock = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"{clock} {what}: {done + count}{of}", file=sys.stderr, flush=True)
