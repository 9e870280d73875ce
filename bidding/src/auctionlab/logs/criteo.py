"""Criteo's attribution log: impressions with costs, no rivals. It is good for sums, which a World can fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from auctionlab.logs.table import read_frame
from auctionlab.market.fidelity import Fidelity

COLUMNS = ("timestamp", "campaign", "conversion", "click", "cost", "cpo")
"""The columns that are read, of the 22 there are."""

_DAY = 24


@dataclass(frozen=True, eq=False)
class Aggregates:
    """Sums by hour of one campaign, or of all."""

    impressions: NDArray[np.float64]
    """(H,)."""
    clicks: NDArray[np.float64]
    """(H,)."""
    conversions: NDArray[np.float64]
    """(H,)."""
    cost: NDArray[np.float64]
    """(H,)."""
    fidelity: Fidelity = Fidelity.AGGREGATE
    """Sums cannot be replayed."""

    def traffic(self) -> tuple[float, ...]:
        """Mean share of a day's impressions by hour of the day (24,): a World's `traffic`."""
        hours = np.arange(self.impressions.size) % _DAY
        sums = np.bincount(hours, self.impressions, minlength=_DAY)
        total = sums.sum()
        if total <= 0:
            raise ValueError("there are no impressions to take the traffic from")
        return tuple((sums / total).tolist())


def read(path: Path | str, *, campaign: int | None = None) -> Aggregates:
    """Sum a tab-separated log by hour, of one campaign or all.

    Raises FileNotFoundError, and ValueError where columns or the campaign are missing.
    """
    file = Path(path)
    frame = read_frame(file, separator="\t")
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ValueError(f"{path}: columns are missing: {', '.join(missing)}")
    if campaign is not None:
        frame = frame.filter(pl.col("campaign") == campaign)
        if frame.is_empty():
            raise ValueError(f"{path}: there is no campaign {campaign}")
    hour = frame["timestamp"].to_numpy().astype(np.int64) // 3600
    if hour.size and hour.min() < 0:
        raise ValueError(f"{path}: timestamps must be seconds from the start of the log, 0 or more")
    length = int(hour.max(initial=-1)) + 1

    def summed(name: str) -> NDArray[np.float64]:
        return np.bincount(hour, frame[name].to_numpy(), minlength=length).astype(np.float64)

    shown = np.bincount(hour, minlength=length).astype(np.float64)
    return Aggregates(shown, summed("click"), summed("conversion"), summed("cost"))
