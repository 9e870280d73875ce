"""The same day under many profiles of bids at once.

A profile gives every ad a bid of affine form: weights on its own value of a click, on the click's worth in
purchases, and on one. Bids are computed as they are needed, a stretch of auctions at a time, so that memory
is the market's own however many profiles there are. Profiles run in threads; each is independent of the
others, so that the number of threads changes nothing.
"""

from __future__ import annotations

import enum
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auctionlab.auction.clearing import clear_compiled
from auctionlab.auction.mechanism import Rules
from auctionlab.auction.outcome import NAMES
from auctionlab.market.market import Integers, Market

Floats = NDArray[np.float64]

TERMS = 3
"""Weights of a bid: on the own value of a click, on its worth in purchases, on one."""

_STRETCH = 2048


class Unit(enum.IntEnum):
    """What a click is worth to an ad by its own objective."""

    CLICK = 0
    """One."""
    CONVERSION = 1
    """The predicted conversion rate."""
    WORTH = 2
    """The predicted conversion rate times the price."""


def clear_population(
    market: Market,
    weights: Floats,
    units: NDArray[np.int64],
    budgets: Floats,
    rules: Rules,
    *,
    seed: int | None = None,
    threads: int = 1,
) -> Floats:
    """The day's sums (P, A, 6) of every profile, in the order of `auctionlab.auction.outcome.NAMES`.

    Args:
        market: the day.
        weights: (P, A, D, 3) of each profile and ad, for each of D equal parts of the day's hours.
        units: (A,) the own value of a click, by Unit.
        budgets: (A,) money for the day.
        rules: of the auctions.
        seed: of the chances, the same for all profiles; None computes expected values.
        threads: to run profiles in.

    Raises:
        ValueError: shapes that do not fit, weights below 0 or not finite, fewer than one thread.

    """
    if weights.ndim != 4 or weights.shape[1] != market.ads or weights.shape[3] != TERMS:
        raise ValueError(f"weights must have the shape (P, {market.ads}, D, {TERMS}), not {weights.shape}")
    if weights.size and not (weights.min() >= 0 and weights.max() < np.inf):
        raise ValueError("weights must be 0 or more, and finite")
    if units.shape != (market.ads,) or budgets.shape != (market.ads,):
        raise ValueError(f"units and budgets must have the shape ({market.ads},)")
    if threads < 1:
        raise ValueError(f"at least one thread is needed, not {threads}")
    part = _part(market, weights.shape[2])
    sums = np.zeros((weights.shape[0], 1, market.ads, len(NAMES)))

    def play(profile: int) -> None:
        _play(
            market.first,
            market.offsets,
            market.ad,
            market.click,
            market.conversion,
            market.price,
            market.predicted,
            part,
            weights[profile],
            units,
            budgets.copy(),
            rules.effects,
            rules.reserve,
            rules.mechanism.code,
            seed is not None,
            seed or 0,
            sums[profile],
        )

    if threads == 1:
        for profile in range(weights.shape[0]):
            play(profile)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(play, range(weights.shape[0])))
    return sums[:, 0]


@njit(cache=True, nogil=True, error_model="numpy")
def _play(
    first: int,
    offsets: Integers,
    ad: Integers,
    click: Floats,
    conversion: Floats,
    price: Floats,
    predicted: Floats,
    part: Integers,
    weights: Floats,
    units: Integers,
    left: Floats,
    effects: Floats,
    reserve: float,
    mechanism: int,
    sampled: bool,
    seed: int,
    sums: Floats,
) -> None:
    auctions = offsets.size - 1
    widest = 0
    for start in range(0, auctions, _STRETCH):
        stop = min(start + _STRETCH, auctions)
        widest = max(widest, offsets[stop] - offsets[start])
    bids = np.empty(widest)
    hour = np.zeros(_STRETCH, np.int64)
    for start in range(0, auctions, _STRETCH):
        stop = min(start + _STRETCH, auctions)
        low, high = offsets[start], offsets[stop]
        _bid(offsets[start : stop + 1], ad, price, predicted, part[start:stop], weights, units, bids)
        clear_compiled(
            first + start,
            offsets[start : stop + 1] - low,
            ad[low:high],
            click[low:high],
            conversion[low:high],
            price[low:high],
            hour[: stop - start],
            bids[: high - low],
            left,
            effects,
            reserve,
            mechanism,
            sampled,
            seed,
            sums,
        )


@njit(cache=True, nogil=True, error_model="numpy")
def _bid(
    offsets: Integers,
    ad: Integers,
    price: Floats,
    predicted: Floats,
    part: Integers,
    weights: Floats,
    units: Integers,
    bids: Floats,
) -> None:
    """Bids of the auctions that offsets lie between, from the first of `bids` on."""
    low = offsets[0]
    for auction in range(offsets.size - 1):
        for row in range(offsets[auction], offsets[auction + 1]):
            worth = predicted[row] * price[row]
            unit = units[ad[row]]
            own = 1.0 if unit == 0 else (predicted[row] if unit == 1 else worth)
            weight = weights[ad[row], part[auction]]
            bids[row - low] = weight[0] * own + weight[1] * worth + weight[2]


def affine_bids(market: Market, weights: Floats, units: NDArray[np.int64]) -> Floats:
    """The bids (E,) that one profile's weights (A, D, 3) make on a day, before budgets."""
    bids = np.empty(market.candidates)
    part = _part(market, weights.shape[1])
    _bid(market.offsets, market.ad, market.price, market.predicted, part, weights, units, bids)
    return bids


def _part(market: Market, parts: int) -> Integers:
    """(N,) which of so many equal parts of the day each auction is in."""
    return np.asarray(market.hour * parts // max(market.hours, 1))
