"""Avito's traffic shares: how a region's day spreads over its hours, for each day of the week."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auctionlab.logs.table import read_frame

COLUMNS = ("region_id", "dow", "hour", "traffic_share")
"""The columns of the file."""


def read(path: Path | str) -> NDArray[np.float64]:
    """Shares (regions, days of the week, 24); each day's shares sum to one.

    Raises FileNotFoundError, and ValueError where columns or hours are missing.
    """
    frame = read_frame(Path(path))
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ValueError(f"{path}: columns are missing: {', '.join(missing)}")
    sizes = [frame[name].n_unique() for name in COLUMNS[:3]]
    if sizes[2] != 24 or frame.height != np.prod(sizes):
        raise ValueError(f"{path}: every region must have every day and 24 hours, once each")
    shares = frame.sort(COLUMNS[:3])["traffic_share"].to_numpy().reshape(sizes).astype(np.float64)
    if not (shares >= 0).all():
        raise ValueError(f"{path}: traffic_share must be 0 or more")
    return np.asarray(shares / shares.sum(axis=2, keepdims=True))
