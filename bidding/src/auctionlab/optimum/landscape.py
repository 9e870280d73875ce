"""Responses of a day: what each hour costs and brings at each multiplier, for one ad."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from auctionlab.auction.chance import CLICK, PURCHASE, uniform
from auctionlab.auction.ladder import Ladder, climb
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.bids.grid import checked
from auctionlab.bids.signals import Signal
from auctionlab.market.market import Integers, Market

Floats = NDArray[np.float64]

_VCG = Mechanism.VCG.code
_FIRST_PRICE = Mechanism.FIRST_PRICE.code


@dataclass(frozen=True, eq=False)
class Landscape:
    """Tables of H hours by M multipliers, budgets left aside."""

    grid: Floats
    """(M,) the multipliers."""
    cost: Floats
    """(H, M) money that the hour would cost."""
    gain: Floats
    """(H, M) purchases' worth that it would bring."""
    clicks: Floats
    """(H, M) clicks."""

    @property
    def hours(self) -> int:
        """H."""
        return len(self.cost)


def landscape(
    market: Market,
    ad: int,
    grid: ArrayLike,
    rules: Rules | None = None,
    *,
    signal: Signal | Floats = Signal.MODEL,
    seed: int | None = None,
    ladder: Ladder | None = None,
) -> Landscape:
    """The responses of one ad, its rivals' standing bids as they are and their budgets slack.

    The signal (E,) is what multipliers multiply. With a seed, clicks and purchases are those that chance
    would draw in the core; without, expected ones. A ladder of the same market, ad and rules may be given,
    to climb it once for many grids.
    """
    rules = rules or Rules()
    steps = ladder or climb(market, ad, rules)
    multipliers = checked(grid) if np.ndim(grid) else np.asarray([grid], np.float64)
    tables = [np.zeros((market.hours, multipliers.size)) for _ in range(3)]
    _respond(
        market.first + steps.auction,
        steps.hour,
        steps.scores,
        steps.wins_ties,
        steps.click,
        steps.gain,
        np.asarray(market.conversion[steps.row], np.float64),
        np.asarray(market.price[steps.row], np.float64),
        (signal.of(market) if isinstance(signal, Signal) else signal)[steps.row],
        multipliers,
        ad,
        rules.effects,
        rules.reserve,
        rules.mechanism.code,
        -1 if seed is None else seed,
        *tables,
    )
    return Landscape(multipliers, *tables)


@njit(cache=True, nogil=True, error_model="numpy")
def _respond(
    number: Integers,
    hour: Integers,
    scores: Floats,
    wins_ties: NDArray[np.bool_],
    click: Floats,
    worth: Floats,
    conversion: Floats,
    price: Floats,
    signal: Floats,
    grid: Floats,
    ad: int,
    effects: Floats,
    reserve: float,
    mechanism: int,
    seed: int,
    cost: Floats,
    gain: Floats,
    clicks: Floats,
) -> None:
    slots = effects.size
    for entry in range(number.size):
        rate = click[entry]
        for action in range(grid.size):
            bid = grid[action] * signal[entry]
            score = bid * rate
            if bid < reserve or score <= 0:
                continue
            place = 0
            while place < slots and (
                scores[entry, place] > score or (scores[entry, place] == score and wins_ties[entry, place])
            ):
                place += 1
            if place == slots:
                continue
            if mechanism == _FIRST_PRICE:
                paid = bid
            else:
                if mechanism == _VCG:
                    harm = 0.0
                    for position in range(slots - 1, place - 1, -1):
                        below = effects[position + 1] if position + 1 < slots else 0.0
                        harm += (effects[position] - below) * scores[entry, position]
                    threshold = harm / (effects[place] * rate) if effects[place] > 0 else 0.0
                else:
                    threshold = scores[entry, place] / rate
                paid = min(bid, max(reserve, threshold))
            chance = rate * effects[place]
            if seed < 0:
                clicked, bought = chance, chance * worth[entry]
            else:
                clicked = 1.0 if uniform(seed, number[entry], ad, CLICK) < chance else 0.0
                bought = 0.0
                if clicked > 0 and uniform(seed, number[entry], ad, PURCHASE) < conversion[entry]:
                    bought = price[entry]
            cost[hour[entry], action] += clicked * paid
            clicks[hour[entry], action] += clicked
            gain[hour[entry], action] += bought


def spending_multiplier(
    market: Market,
    ad: int,
    budget: float,
    rules: Rules | None = None,
    *,
    signal: Signal | Floats = Signal.MODEL,
) -> float:
    """The constant multiplier that just spends the budget: the least that costs it, to twelve digits.

    Cost is a step function of the multiplier, so the cost of what is returned is at or a little above the
    budget. ValueError where no multiplier, however high, spends it.
    """
    rules = rules or Rules()
    ladder = climb(market, ad, rules)

    def cost(multiplier: float) -> float:
        response = landscape(market, ad, multiplier, rules, signal=signal, ladder=ladder)
        return float(response.cost.sum())

    if not budget > 0:
        raise ValueError(f"a budget to spend must be above 0, not {budget}")
    high = 1.0
    while cost(high) < budget:
        high *= 2
        if high > 2.0**40:
            raise ValueError(
                f"no multiplier spends {budget:g}: at most {cost(high):g} can be spent in this market"
            )
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if cost(middle) < budget:
            low = middle
        else:
            high = middle
        if high - low <= 1e-12 * high:
            break
    return high
