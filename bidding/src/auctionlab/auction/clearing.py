"""The core: clears a day's auctions in order, with budgets, exactly.

The rule of budgets: a bid is capped at the money left. A price never exceeds the bid, so nobody overspends,
nothing is clipped after the fact, and revenue is what was charged.

The loop over auctions is compiled. Its cost is the score of every candidate; so scores are computed in one
pass without branches, which compilers turn into vector instructions, and the best K + 1 of them are found as
a tournament over blocks of eight: to take a winner out, only its own block is looked at again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auctionlab.auction.chance import CLICK, PURCHASE, chance, chances
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.market.market import Market

Floats = NDArray[np.float64]

_BLOCK = 8
_VCG = Mechanism.VCG.code
_FIRST_PRICE = Mechanism.FIRST_PRICE.code


def clear(
    market: Market,
    bids: ArrayLike | None = None,
    budgets: ArrayLike | None = None,
    rules: Rules | None = None,
    *,
    seed: int | None = None,
    into: Outcome | None = None,
) -> Outcome:
    """Clear all auctions of a market in order.

    Args:
        market: the day, or a piece of one.
        bids: (E,) money per click; the market's standing bids if not given.
        budgets: (A,) money for the day, infinite if not given. 0 wins nothing.
        rules: mechanism, positions and reserve.
        seed: of the clicks and purchases that chance draws; None computes expected values.
        into: an outcome to go on from: sums are added to its tables in place, and its money left is the
            budget. A day cleared in pieces comes out equal to the last bit.

    Raises:
        ValueError: bids or budgets are negative, not numbers, or of another length.

    """
    rules = rules or Rules()
    offers = market.bid if bids is None else _money("bids", bids, market.candidates)
    if into is None:
        into = Outcome.empty(market.hours, _budgets(budgets, market.ads))
    elif budgets is not None:
        raise ValueError(
            "give budgets or an outcome to go on from, not both: an outcome knows the money left"
        )
    if seed is not None and not 0 <= seed < 2**63:
        raise ValueError(f"the seed must lie between 0 and 2^63 - 1, not {seed}")
    clear_compiled(
        market.first,
        market.offsets,
        market.ad,
        market.click,
        market.conversion,
        market.price,
        market.hour,
        _readonly(offers),
        into.left,
        rules.effects,
        rules.reserve,
        rules.mechanism.code,
        seed is not None,
        seed or 0,
        into.sums,
    )
    return into


def _readonly(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _money(name: str, values: ArrayLike, length: int) -> Floats:
    try:
        array = np.ascontiguousarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers of the shape ({length},)") from error
    if array.shape != (length,):
        raise ValueError(f"{name} must have the shape ({length},), not {array.shape}")
    if (wrong := np.flatnonzero(~(array >= 0))).size:
        raise ValueError(f"{name} is {array[wrong[0]]} in row {wrong[0]}; money is 0 or more")
    return array


def _budgets(budgets: ArrayLike | None, ads: int) -> Floats:
    return np.full(ads, math.inf) if budgets is None else _money("budgets", budgets, ads)


@njit(cache=True, inline="always")
def _best_of(scores: NDArray[np.float64], block: int) -> float:
    best = 0.0
    for lane in range(_BLOCK):
        score = scores[block * _BLOCK + lane]
        best = score if score > best else best
    return best


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def clear_compiled(
    first: int,
    offsets: NDArray[np.int64],
    ad: NDArray[np.int64],
    click: NDArray[np.float64],
    conversion: NDArray[np.float64],
    price: NDArray[np.float64],
    hour: NDArray[np.int64],
    bids: NDArray[np.float64],
    left: NDArray[np.float64],
    effects: NDArray[np.float64],
    reserve: float,
    mechanism: int,
    sampled: bool,
    seed: int,
    sums: NDArray[np.float64],
) -> None:
    """The compiled loop; `clear` checks its arguments. Without NaN, its fast arithmetic is exact."""
    slots = effects.size
    widest = 0
    for auction in range(offsets.size - 1):
        widest = max(widest, offsets[auction + 1] - offsets[auction])
    capacity = (widest + _BLOCK - 1) // _BLOCK
    scores = np.zeros(capacity * _BLOCK)
    bests = np.zeros(capacity)
    winner = np.zeros(slots + 1, np.int64)
    ranked = np.zeros(slots + 2)
    # A score of 0 marks a candidate that takes no part, so a tiny bid times a tiny rate may drop out.
    for auction in range(offsets.size - 1):
        low = offsets[auction]
        count = offsets[auction + 1] - low
        for candidate in range(count):
            row = low + candidate
            offer = min(bids[row], left[ad[row]])
            scores[candidate] = offer * click[row] if offer >= reserve else 0.0
        blocks = (count + _BLOCK - 1) // _BLOCK
        for candidate in range(count, blocks * _BLOCK):
            scores[candidate] = 0.0
        for block in range(blocks):
            bests[block] = _best_of(scores, block)

        found = 0
        while found <= slots:
            best, where = 0.0, -1
            for block in range(blocks):
                # Strictly greater: of equal scores the lower candidate wins.
                if bests[block] > best:
                    best, where = bests[block], block
            if where < 0:
                break
            # Without branches: which lane is best is anyone's guess. From the end: the lowest stays.
            candidate = where * _BLOCK
            lane = 0
            for place in range(_BLOCK - 1, -1, -1):
                lane = place if scores[candidate + place] == best else lane
            candidate += lane
            winner[found], ranked[found] = candidate, best
            scores[candidate] = 0.0
            bests[where] = _best_of(scores, where)
            found += 1

        shown = min(found, slots)
        for rank in range(found, slots + 2):
            ranked[rank] = 0.0
        when = hour[auction]
        shared = chances(seed, first + auction) if sampled else np.uint64(0)
        # From the bottom up, because VCG's price sums over all positions below.
        harm = 0.0
        for position in range(shown - 1, -1, -1):
            row = low + winner[position]
            who = ad[row]
            rate = click[row]
            below = effects[position + 1] if position + 1 < slots else 0.0
            harm += (effects[position] - below) * ranked[position + 1]
            offer = min(bids[row], left[who])
            if mechanism == _FIRST_PRICE:
                paid = offer
            else:
                if mechanism == _VCG:
                    threshold = harm / (effects[position] * rate) if effects[position] > 0 else 0.0
                else:
                    threshold = ranked[position + 1] / rate
                paid = min(offer, max(reserve, threshold))
            clicking = rate * effects[position]
            if sampled:
                clicked = 1.0 if chance(shared, who, CLICK) < clicking else 0.0
                bought = 0.0
                if clicked > 0 and chance(shared, who, PURCHASE) < conversion[row]:
                    bought = 1.0
            else:
                clicked = clicking
                bought = clicking * conversion[row]
            charge = clicked * paid
            left[who] -= charge
            got = sums[when, who]
            got[0] += 1.0
            got[1] += 1.0 if position == 0 else 0.0
            got[2] += clicked
            got[3] += charge
            got[4] += bought
            got[5] += bought * price[row]
