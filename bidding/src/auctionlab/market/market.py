"""A day of auctions: who could be shown where, how likely a click and a purchase are, what was bid."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auctionlab.market.fidelity import Fidelity

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class Market:
    """Auctions of a day in order, as one flat table of candidates with offsets (CSR).

    N auctions, E candidates in all, A ads, H hours. Auction i has the candidates offsets[i]:offsets[i + 1].
    Arrays are checked once, when the market is made, and are read-only afterwards; ValueError says which
    row is wrong. Rates and money are kept in the precision they come in, single or double: a market of
    single precision takes half the memory, and all sums are of double precision anyway.
    """

    offsets: Integers
    """(N + 1,) where each auction's candidates begin."""
    ad: Integers
    """(E,) which ad the candidate is, from 0; 32 bits each."""
    click: Floats
    """(E,) probability of a click in the first position."""
    conversion: Floats
    """(E,) probability of a purchase after a click."""
    price: Floats
    """(E,) what a purchase is worth, in money."""
    bid: Floats
    """(E,) what was bid for a click, in money: the standing bids of everyone."""
    hour: Integers
    """(N,) the hour of each auction, from 0, never falling."""
    keyword: Integers
    """(N,) the keyword that each auction is for, from 0."""
    predicted: Floats
    """(E,) the conversion rate that bidders see; they never see `conversion`."""
    ads: int
    """A, the number of ads, those without a candidate included."""
    hours: int
    """H, the number of hours, those without an auction included."""
    first: int = 0
    """Number of the first auction: a piece of a day keeps the numbers, and with them the chances."""
    fidelity: Fidelity = Fidelity.COMPLETE
    """How much of each auction is known."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                # A view of one's own, so that the caller's array stays writable.
                view = value.view()
                view.flags.writeable = False
                object.__setattr__(self, field.name, view)

    @classmethod
    def of(
        cls,
        *,
        offsets: ArrayLike,
        ad: ArrayLike,
        click: ArrayLike,
        conversion: ArrayLike | None = None,
        price: ArrayLike | None = None,
        bid: ArrayLike | None = None,
        hour: ArrayLike | None = None,
        keyword: ArrayLike | None = None,
        predicted: ArrayLike | None = None,
        ads: int | None = None,
        hours: int | None = None,
        fidelity: Fidelity = Fidelity.COMPLETE,
    ) -> Market:
        """A market from plain arrays, checked. What is left out is 1 (rates, prices) or 0 (bids, hours).

        Raises ValueError naming the array, the row and what to do.
        """
        starts = _integers("offsets", offsets)
        if starts.size == 0 or starts[0] != 0:
            raise ValueError("offsets must begin with 0 and have one entry more than there are auctions")
        if (falls := np.flatnonzero(np.diff(starts) < 0)).size:
            raise ValueError(f"offsets go back after auction {falls[0]}; they must never fall")
        auctions, candidates = starts.size - 1, int(starts[-1])
        who = _integers("ad", ad, candidates)
        count = ads if ads is not None else int(who.max(initial=-1)) + 1
        if who.size and (who.min() < 0 or who.max() >= count):
            wrong = np.flatnonzero((who < 0) | (who >= count))
            raise ValueError(f"ad is {who[wrong[0]]} in row {wrong[0]}, but ads are 0 to {count - 1}")
        times = _integers("hour", np.zeros(auctions, np.int64) if hour is None else hour, auctions)
        length = hours if hours is not None else int(times.max(initial=0)) + 1
        if (wrong := np.flatnonzero((times < 0) | (times >= length))).size:
            raise ValueError(
                f"hour is {times[wrong[0]]} in auction {wrong[0]}, but hours are 0 to {length - 1}"
            )
        if (falls := np.flatnonzero(np.diff(times) < 0)).size:
            raise ValueError(f"auctions must be in order of time: the hour falls after auction {falls[0]}")
        words = _integers("keyword", np.zeros(auctions, np.int64) if keyword is None else keyword, auctions)
        if (wrong := np.flatnonzero(words < 0)).size:
            raise ValueError(
                f"keyword is {words[wrong[0]]} in auction {wrong[0]}; keywords are numbers from 0"
            )
        _refuse_twice(starts, who, count)
        bought = _rates("conversion", 1.0 if conversion is None else conversion, candidates)
        return cls(
            offsets=starts,
            ad=who.astype(np.int32, copy=False),
            click=_rates("click", click, candidates),
            conversion=bought,
            price=_money("price", 1.0 if price is None else price, candidates),
            bid=_money("bid", 0.0 if bid is None else bid, candidates),
            hour=times,
            keyword=words,
            predicted=bought if predicted is None else _rates("predicted", predicted, candidates),
            ads=count,
            hours=length,
            fidelity=fidelity,
        )

    @property
    def auctions(self) -> int:
        """N."""
        return self.offsets.size - 1

    @property
    def candidates(self) -> int:
        """E."""
        return self.ad.size

    @property
    def value(self) -> Floats:
        """(E,) what a click is truly worth on average: conversion rate times price."""
        return self.conversion * self.price

    @property
    def keyword_of_candidate(self) -> Integers:
        """(E,) the keyword of each candidate's auction."""
        return np.repeat(self.keyword, np.diff(self.offsets))

    def piece(self, start: int, stop: int) -> Market:
        """Auctions start to stop, with their own numbers; nothing is copied."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return replace(
            self,
            offsets=self.offsets[start : stop + 1] - low,
            hour=self.hour[start:stop],
            keyword=self.keyword[start:stop],
            first=self.first + start,
            **{name: getattr(self, name)[low:high] for name in _OF_CANDIDATES},
        )

    def rows_of(self, ad: int) -> Integers:
        """The rows of the candidates that are one ad, in order. ValueError where there is no such ad."""
        if not 0 <= ad < self.ads:
            raise ValueError(f"there is no ad {ad}; ads are 0 to {self.ads - 1}")
        return np.flatnonzero(self.ad == ad)

    def divided(self, every: int) -> Market:
        """The same day in steps of `every` auctions in place of hours."""
        if every < 1:
            raise ValueError(f"a step must have at least one auction, not {every}")
        steps = np.arange(self.auctions) // every
        return replace(self, hour=steps, hours=-(-self.auctions // every))

    def bounds(self) -> Integers:
        """(H + 1,) the first auction of each hour, and the number of auctions at the end."""
        return np.searchsorted(self.hour, np.arange(self.hours + 1))

    def with_bids(self, bid: ArrayLike) -> Market:
        """The same day with other standing bids (E,)."""
        return replace(self, bid=_money("bid", bid, self.candidates))


_OF_CANDIDATES = ("ad", "click", "conversion", "price", "bid", "predicted")


def _integers(name: str, values: ArrayLike, length: int | None = None) -> Integers:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be a flat array of integers, not {array.dtype} of shape {array.shape}")
    _measure(name, array, length)
    return np.ascontiguousarray(array, np.int32 if array.dtype == np.int32 else np.int64)


def _one_for_all(value: float, length: int) -> Floats:
    # A view of one number: a price that all share takes no memory.
    return np.broadcast_to(np.float64(value), (length,))


def _floats(name: str, values: ArrayLike, length: int) -> Floats:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers, not {array.dtype}")
    if array.ndim == 0:
        return _one_for_all(float(array), length)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a flat array, not of shape {array.shape}")
    _measure(name, array, length)
    precise = np.float32 if array.dtype == np.float32 else np.float64
    return np.ascontiguousarray(array, precise)


def _measure(name: str, array: NDArray[Any], length: int | None) -> None:
    if length is not None and array.size != length:
        raise ValueError(f"{name} has {array.size} entries, but offsets say there must be {length}")


def _rates(name: str, values: ArrayLike, length: int) -> Floats:
    array = _floats(name, values, length)
    # NaN fails every comparison, and the least of numbers with a NaN is NaN.
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        row = np.flatnonzero(~((array >= 0) & (array <= 1)))[0]
        raise ValueError(f"{name} is {array[row]} in row {row}; rates lie between 0 and 1")
    return array


def _money(name: str, values: ArrayLike, length: int) -> Floats:
    array = _floats(name, values, length)
    if array.size and not (array.min() >= 0 and array.max() < np.inf):
        row = np.flatnonzero(~((array >= 0) & np.isfinite(array)))[0]
        raise ValueError(f"{name} is {array[row]} in row {row}; money is 0 or more, and finite")
    return array


def _refuse_twice(offsets: Integers, ad: Integers, ads: int) -> None:
    row = _find_twice(offsets, ad, ads)
    if row >= 0:
        auction = int(np.searchsorted(offsets, row, side="right")) - 1
        raise ValueError(f"ad {ad[row]} stands twice in auction {auction}; an ad bids once in an auction")


@njit(cache=True, nogil=True)
def _find_twice(offsets: Integers, ad: Integers, ads: int) -> int:
    """The first row whose ad has stood in its auction before, or -1."""
    seen = np.full(ads, -1, np.int64)
    for auction in range(offsets.size - 1):
        for row in range(offsets[auction], offsets[auction + 1]):
            if seen[ad[row]] == auction:
                return row
            seen[ad[row]] = auction
    return -1
