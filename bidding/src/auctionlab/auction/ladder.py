"""What one ad faces: the scores of its rivals in each auction it takes part in.

While rivals' bids are fixed and their budgets slack, these are all that decides where a bid gets the ad and
what a click costs there. So responses to many bids, and optima, are read off them, without the core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.market.market import Integers, Market

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ladder:
    """The n auctions of one ad, each with the K best scores of its rivals."""

    auction: Integers
    """(n,) number of the auction within the market."""
    row: Integers
    """(n,) the ad's row in the market's table of candidates."""
    hour: Integers
    """(n,) the hour of the auction."""
    scores: Floats
    """(n, K) rivals' scores from the highest; 0 where there are fewer."""
    wins_ties: NDArray[np.bool_]
    """(n, K) whether that rival stands before the ad, and so wins where scores are equal."""
    click: Floats
    """(n,) the ad's click rate in the first position."""
    gain: Floats
    """(n,) what a click is worth to the ad: true conversion rate times price."""

    def options(self, rules: Rules) -> tuple[Floats, Floats]:
        """Expected cost and gain (n, K) of each position, at the least price that it can be had for.

        With first prices that is the bid that just wins the position. Cost is infinite where no price
        does: never, as any rival can be outbid.
        """
        effects = rules.effects
        rate = self.click[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            if rules.mechanism is Mechanism.VCG:
                steps = (effects - np.append(effects[1:], 0.0)) * self.scores
                harm = np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]
                price = harm / (effects * rate)
            else:
                price = self.scores / rate
        price = np.maximum(np.nan_to_num(price, nan=0.0, posinf=0.0), rules.reserve)
        clicks = effects * rate
        return clicks * price, clicks * self.gain[:, None]


def climb(market: Market, ad: int, rules: Rules) -> Ladder:
    """The ladder of one ad among the market's standing bids. ValueError where there is no such ad."""
    row = market.rows_of(ad)
    auction = np.searchsorted(market.offsets, row, side="right") - 1
    scores = np.zeros((row.size, len(rules.positions)))
    wins_ties = np.zeros(scores.shape, np.bool_)
    _climb(market.offsets, market.click, market.bid, auction, row, rules.reserve, scores, wins_ties)
    return Ladder(
        auction=auction,
        row=row,
        hour=market.hour[auction],
        scores=scores,
        wins_ties=wins_ties,
        click=np.asarray(market.click[row], np.float64),
        gain=np.asarray(market.value[row], np.float64),
    )


@njit(cache=True, nogil=True)
def _climb(
    offsets: Integers,
    click: Floats,
    bid: Floats,
    auction: Integers,
    row: Integers,
    reserve: float,
    scores: Floats,
    wins_ties: NDArray[np.bool_],
) -> None:
    slots = scores.shape[1]
    for entry in range(row.size):
        for rival in range(offsets[auction[entry]], offsets[auction[entry] + 1]):
            score = bid[rival] * click[rival]
            if rival == row[entry] or bid[rival] < reserve or score <= scores[entry, slots - 1]:
                continue
            place = slots - 1
            while place > 0 and scores[entry, place - 1] < score:
                scores[entry, place] = scores[entry, place - 1]
                wins_ties[entry, place] = wins_ties[entry, place - 1]
                place -= 1
            scores[entry, place] = score
            wins_ties[entry, place] = rival < row[entry]


def require_slack(market: Market, ad: int, budgets: Floats | None, rules: Rules) -> None:
    """Refuse where rivals' budgets could bind: what they do then depends on the ad, and no ladder holds.

    A budget is slack where it pays for the ad's every click at its own bid, and one bid more. Raises
    ValueError naming the first ad whose budget is not.
    """
    if budgets is None:
        return
    if budgets.shape != (market.ads,):
        raise ValueError(f"budgets must have the shape ({market.ads},), not {budgets.shape}")
    rivals = market.ad != ad
    most = np.bincount(market.ad[rivals], (market.bid * market.click)[rivals], minlength=market.ads)
    highest = np.zeros(market.ads)
    np.maximum.at(highest, market.ad[rivals], market.bid[rivals])
    needed = most * rules.positions[0] + highest
    if (short := np.flatnonzero((budgets < needed) & (np.arange(market.ads) != ad))).size:
        rival = short[0]
        raise ValueError(
            f"the budget of ad {rival} ({budgets[rival]:g}) may run out (it can spend {needed[rival]:g}): "
            "where rivals' budgets bind, no bound for one ad holds; give them budgets that do not, or none"
        )
