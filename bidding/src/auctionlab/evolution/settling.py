"""The last touch on what a search found: limits that bind are met with equality on the training days.

A multiplier above 0 says that its limit binds, and then the limit holds with equality (complementary
slackness). The factor on bids that does so is found by bisection. It is the direction in which the last
steps of a search are mere noise: one factor on all of an ad's bids hardly changes which auctions it wants,
only how much it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from auctionlab.evolution.objectives import Advertiser, limits_of, ppc_excess, revenue

Floats = NDArray[np.float64]

_WIDEST = 3.0
"""How far the logarithm of a factor may be from 0."""
_ROUNDS = 3
"""Ads change each other's prices: how often each is looked at again."""


def settled(
    theta: Floats,
    play: Callable[[Floats], Floats],
    advertisers: Sequence[Advertiser],
    groups: NDArray[np.int64],
    *,
    floor: float | None,
    usual: Sequence[float],
    floor_binds: bool,
    ppc_multipliers: Floats,
) -> Floats:
    """Theta (G, D, 3) with limits that bind met.

    Args:
        theta: logarithms of weights.
        play: theta to the sums (days, A, 6) of the training days.
        advertisers: one for each ad.
        groups: (A,) the group of each ad.
        floor: least revenue as a share of the usual one.
        usual: each day's revenue of truthful bidding.
        floor_binds: whether revenue is to come down to the floor, or only not to fall short of it.
        ppc_multipliers: (A,) nu.

    """

    def excess(tried: Floats) -> Floats:
        return np.asarray(np.mean([ppc_excess(sums, advertisers) for sums in play(tried)], axis=0))

    def worst(members: NDArray[np.bool_], tried: Floats) -> float:
        return float(excess(tried)[members].max())

    def share(tried: Floats) -> float:
        pairs = zip(play(tried), usual, strict=True)
        return float(np.mean([float(revenue(sums)) / paid for sums, paid in pairs]))

    limited = np.isfinite(limits_of(advertisers))
    for _ in range(_ROUNDS):
        for group in range(len(theta)):
            members = (groups == group) & limited
            if not members.any():
                continue
            now = worst(members, theta)
            if now > 0 or ppc_multipliers[members].max() > 0:
                theta = _scaled(theta, group, partial(worst, members))
    if floor is not None and (floor_binds or share(theta) < floor):
        scaled = _scaled(theta, slice(None), lambda tried: share(tried) - floor)
        if float(excess(scaled).max()) <= max(float(excess(theta).max()), 0.0) + 1e-9:
            theta = scaled
    return theta


def _scaled(theta: Floats, which: int | slice, above: Callable[[Floats], float]) -> Floats:
    """Theta with weights scaled so that `above`, which rises with them, is 0; unchanged where it never is."""

    def moved(by: float) -> Floats:
        changed = theta.copy()
        changed[which] += by
        return changed

    low, high = -_WIDEST, _WIDEST
    if not above(moved(low)) < 0 < above(moved(high)):
        return theta
    for _ in range(20):
        middle = (low + high) / 2
        if above(moved(middle)) < 0:
            low = middle
        else:
            high = middle
    return moved((low + high) / 2)
