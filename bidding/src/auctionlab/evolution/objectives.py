"""What advertisers want, and what they must keep to."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.outcome import NAMES
from auctionlab.auction.population import Unit

Floats = NDArray[np.float64]

_CLICKS, _COST, _CONVERSIONS, _GMV = (NAMES.index(name) for name in ("clicks", "cost", "conversions", "gmv"))


class Objective(enum.Enum):
    """What an advertiser wants most of, within its budget."""

    CLICKS = "clicks"
    """Clicks."""
    CONVERSIONS = "conversions"
    """Purchases."""
    GMV = "gmv"
    """What buyers spend."""
    PROFIT = "profit"
    """What buyers spend, less what the clicks cost."""

    @property
    def unit(self) -> Unit:
        """What a click is worth by it."""
        return {Objective.CLICKS: Unit.CLICK, Objective.CONVERSIONS: Unit.CONVERSION}.get(self, Unit.WORTH)


@dataclass(frozen=True)
class Advertiser:
    """One ad's owner."""

    objective: Objective = Objective.PROFIT
    """What it wants."""
    budget: float = math.inf
    """Money for a day."""
    ppc_limit: float = math.inf
    """The most that its clicks may cost on average."""
    manual: bool = False
    """Whether it bids what its clicks are worth, whatever the others do."""

    def __post_init__(self) -> None:
        if not self.budget >= 0:
            raise ValueError(f"a budget must be 0 or more, not {self.budget}")
        if not self.ppc_limit > 0:
            raise ValueError(f"a limit on the price of a click must be above 0, not {self.ppc_limit}")


def budgets_of(advertisers: Sequence[Advertiser]) -> Floats:
    """(A,) money for a day."""
    return np.array([who.budget for who in advertisers], np.float64)


def limits_of(advertisers: Sequence[Advertiser]) -> Floats:
    """(A,) limits on the price of a click; infinite without one."""
    return np.array([who.ppc_limit for who in advertisers], np.float64)


def profit(sums: Floats) -> Floats:
    """(..., A) purchases' worth less cost, from sums (..., A, 6)."""
    return np.asarray(sums[..., _GMV] - sums[..., _COST])


def revenue(sums: Floats) -> Floats:
    """(...) what the platform earns."""
    return np.asarray(sums[..., _COST].sum(axis=-1))


def welfare(sums: Floats) -> Floats:
    """(...) what all purchases are worth."""
    return np.asarray(sums[..., _GMV].sum(axis=-1))


def reached(sums: Floats, advertisers: Sequence[Advertiser]) -> Floats:
    """(..., A) how much of what it wants each one got."""
    columns = {
        Objective.CLICKS: sums[..., _CLICKS],
        Objective.CONVERSIONS: sums[..., _CONVERSIONS],
        Objective.GMV: sums[..., _GMV],
        Objective.PROFIT: profit(sums),
    }
    return np.stack([columns[who.objective][..., ad] for ad, who in enumerate(advertisers)], axis=-1)


def ppc_excess(sums: Floats, advertisers: Sequence[Advertiser]) -> Floats:
    """(..., A) how far the mean price of a click is above the limit, relative to it; -1 without a limit.

    More than a million times the limit counts as that, so that squares of it stay numbers.
    """
    limits = limits_of(advertisers)
    clicks, cost = sums[..., _CLICKS], sums[..., _COST]
    price = np.divide(cost, clicks, out=np.zeros_like(cost), where=clicks > 0)
    least = np.maximum(limits, price / 1e6)
    ratio = np.divide(price, least, out=np.zeros_like(price), where=np.isfinite(least) & (least > 0))
    return np.asarray(np.where(np.isfinite(limits), ratio - 1.0, -1.0))
