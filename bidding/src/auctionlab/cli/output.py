"""What commands print."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from auctionlab.experiments.store import plain


def print_json(value: Any) -> None:
    """One JSON value on one line; numbers that are not finite become null."""
    print(json.dumps(_finite(plain(value))))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return value


class Bar:
    """A progress bar on standard error; nothing where that is not a terminal."""

    def __init__(self, label: str) -> None:
        self._bar = tqdm(desc=label, file=sys.stderr, disable=None, leave=False)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()


def progress(label: str) -> Callable[[int, int], None]:
    """A progress callback."""
    return Bar(label)
