"""Bids of the affine form that MACG's linear program has at its optimum (docs/macg.md derives it).

    bid = w_own x own value of a click + w_worth x worth of a click in purchases + w_one

The weights are few and slow, and positive: what is learned are their logarithms. Ads of a group share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auctionlab.auction.population import TERMS, Unit
from auctionlab.evolution.objectives import Advertiser
from auctionlab.market.market import Market

Floats = NDArray[np.float64]

_SMALL = 0.05
"""What a term that truth does not need contributes at the start, as a share of the bid."""


@dataclass(frozen=True, eq=False)
class Policies:
    """How groups of ads turn learned numbers into weights."""

    groups: NDArray[np.int64]
    """(A,) the group of each ad; -1 for manual ones."""
    units: NDArray[np.int64]
    """(A,) the own value of a click, by Unit."""
    scale: Floats
    """(A, 3) what a weight of one means for each term, so that all terms are of the size of a bid."""
    parts: int
    """D, equal parts of the day with weights of their own."""

    @classmethod
    def of(
        cls,
        market: Market,
        advertisers: Sequence[Advertiser],
        *,
        groups: Sequence[int] | None = None,
        parts: int = 1,
    ) -> Policies:
        """Policies for a market's ads: each its own group unless groups (A,) say otherwise.

        Raises ValueError where there are more or fewer advertisers than ads, groups mix objectives, or all
        ads are manual.
        """
        if len(advertisers) != market.ads:
            raise ValueError(f"the market has {market.ads} ads, but there are {len(advertisers)} advertisers")
        if parts < 1:
            raise ValueError(f"a day has at least one part, not {parts}")
        given = np.arange(market.ads) if groups is None else np.asarray(groups, np.int64)
        if given.shape != (market.ads,):
            raise ValueError(f"groups must have the shape ({market.ads},), not {given.shape}")
        manual = np.array([who.manual for who in advertisers])
        if manual.all():
            raise ValueError("all advertisers are manual; there is nothing to learn")
        numbered = np.full(market.ads, -1)
        numbered[~manual] = np.unique(given[~manual], return_inverse=True)[1]
        for group in range(numbered.max() + 1):
            wanted = {advertisers[int(ad)].objective for ad in np.flatnonzero(numbered == group)}
            if len(wanted) > 1:
                raise ValueError(f"group {group} mixes the objectives {sorted(o.value for o in wanted)}")
        units = np.array([who.objective.unit for who in advertisers], np.int64)
        return cls(numbered, units, _scales(market, units), parts)

    @property
    def count(self) -> int:
        """G, the number of groups that learn."""
        return int(self.groups.max()) + 1

    def truthful(self) -> Floats:
        """(G, D, 3) logarithms of weights that bid about what a click is worth."""
        start = np.full((self.count, self.parts, TERMS), np.log(_SMALL))
        start[:, :, 1] = np.log(1 - 2 * _SMALL)
        return start

    def weights(self, theta: Floats) -> Floats:
        """(P, A, D, 3) weights of profiles theta (P, G, D, 3); manual ads bid what clicks are worth."""
        learned = np.exp(np.clip(theta, -12.0, 6.0))
        weights = np.zeros((theta.shape[0], self.groups.size, self.parts, TERMS))
        automatic = self.groups >= 0
        weights[:, automatic] = learned[:, self.groups[automatic]]
        weights[:, ~automatic, :, 1] = 1.0
        return weights * self.scale[:, None, :]


def _scales(market: Market, units: NDArray[np.int64]) -> Floats:
    """The mean worth of an ad's clicks over the mean of each term."""
    count = np.maximum(np.bincount(market.ad, minlength=market.ads), 1)
    rate = np.bincount(market.ad, market.predicted, minlength=market.ads) / count
    worth = np.bincount(market.ad, market.predicted * market.price, minlength=market.ads) / count
    own = np.select([units == Unit.CLICK, units == Unit.CONVERSION], [np.ones_like(rate), rate], worth)
    ones = np.ones_like(worth)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.stack([worth / own, ones, worth], axis=1)
    return np.where(np.isfinite(scale), scale, 1.0)
