"""Bidding for single impressions at second price: the four policies of the RLB paper's published table.

Cai et al. 2017, "Real-Time Bidding by Reinforcement Learning in Display Advertising" (arXiv 1701.02490). An
episode has N auctions and a budget B in whole units of money. With m(d) the probability that the market
price is d, and c the mean click rate, the value of n auctions to come and b money left is

    V(n, b) = max_a  sum_{d <= a} m(d) (c + V(n-1, b-d)) + sum_{d > a} m(d) V(n-1, b),   V(0, b) = 0,

and RLB bids the largest d with theta + V(n-1, b-d) - V(n-1, b) >= 0, theta being the click rate predicted
for the impression; SS-MDP bids the same with c in place of theta.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class DisplayPolicy(enum.Enum):
    """How to bid for an impression."""

    RLB = "rlb"
    """By the value function and the predicted click rate."""
    SS_MDP = "ss-mdp"
    """By the value function and the mean click rate."""
    MCPC = "mcpc"
    """Predicted click rate times what a click cost in training, the most one is ready to pay."""
    LIN = "lin"
    """Base bid times predicted click rate over the mean click rate."""


@dataclass(frozen=True, eq=False)
class Training:
    """What the training days say."""

    impressions: int
    """Impressions won."""
    clicks: int
    """Clicks on them."""
    cost: int
    """What they cost, in units of money per 1,000 impressions."""
    prices: Integers
    """(P,) how often each market price, from 0, occurred."""

    @property
    def click_rate(self) -> float:
        """Mean click rate."""
        return self.clicks / self.impressions

    @property
    def mean_price(self) -> float:
        """Mean cost of an impression."""
        return self.cost / self.impressions

    @property
    def price_rates(self) -> Floats:
        """(P,) probability of each market price, by Laplace's rule: one more of each than counted."""
        counted = np.asarray(self.prices, np.float64) + 1.0
        return np.asarray(counted / counted.sum())


@dataclass(frozen=True)
class Replay:
    """What a policy got in the test days."""

    auctions: int
    """Impressions on offer."""
    impressions: int
    """Impressions won."""
    clicks: int
    """Clicks on them."""
    cost: int
    """Money spent."""


def value_table(training: Training, auctions: int, budget: int) -> Floats:
    """V (N, B + 1) for 0 to N - 1 auctions to come."""
    if auctions < 1 or budget < 0:
        raise ValueError(
            f"an episode needs at least 1 auction and a budget of 0 or more: {auctions}, {budget}"
        )
    table = np.zeros((auctions, budget + 1))
    _fill(training.price_rates, training.click_rate, table)
    return table


@njit(cache=True, nogil=True)
def _fill(price_rates: Floats, click_rate: float, table: Floats) -> None:
    highest = price_rates.size - 1
    for left in range(1, table.shape[0]):
        before, now = table[left - 1], table[left]
        for money in range(1, table.shape[1]):
            value = before[money]
            for price in range(min(highest, money) + 1):
                gain = click_rate + before[money - price] - before[money]
                # The value of money is concave enough that the first price not worth it ends the search.
                if gain < 0:
                    break
                value += price_rates[price] * gain
            now[money] = value


def replay(
    clicked: ArrayLike,
    price: ArrayLike,
    predicted: ArrayLike,
    training: Training,
    policy: DisplayPolicy,
    *,
    auctions: int = 1000,
    budget_share: float = 1 / 32,
    base_bid: float = 10.0,
) -> Replay:
    """Bid for the impressions of a log in episodes of `auctions`, each with the same budget.

    Args:
        clicked: (n,) 1 where the impression was clicked.
        price: (n,) market price: what the highest other bid was, in whole units.
        predicted: (n,) predicted click rate.
        training: counts of the training days.
        policy: how to bid.
        auctions: N, impressions in an episode; the last episode may be shorter.
        budget_share: the episode's budget as a share of what its impressions would cost at the mean price.
        base_bid: of LIN.

    Raises:
        ValueError: columns of different length, or numbers out of their range.

    """
    won = np.asarray(clicked, np.int64)
    cost = np.asarray(price, np.int64)
    rate = np.asarray(predicted, np.float64)
    if not won.shape == cost.shape == rate.shape or won.ndim != 1:
        raise ValueError(f"columns must be of one length: {won.shape}, {cost.shape}, {rate.shape}")
    if auctions < 1:
        raise ValueError(f"an episode needs at least 1 auction, not {auctions}")
    if not 0 <= budget_share < np.inf:
        raise ValueError(f"budget_share must be 0 or more, not {budget_share}")
    if cost.size and cost.min() < 0:
        raise ValueError("market prices must be 0 or more")
    budget = int(training.mean_price * budget_share * auctions)
    highest = training.prices.size - 1
    by_value = policy in (DisplayPolicy.RLB, DisplayPolicy.SS_MDP)
    table = value_table(training, auctions, budget) if by_value else np.zeros((1, 1))
    if policy is DisplayPolicy.SS_MDP:
        rate = np.full(rate.shape, training.click_rate)
    if policy is DisplayPolicy.MCPC:
        fixed = rate * (training.cost / training.clicks)
    else:
        fixed = base_bid * rate / training.click_rate
    bids = np.minimum(fixed, highest).astype(np.int64)
    return Replay(won.size, *_replay(won, cost, rate, bids, table, by_value, auctions, budget, highest))


@njit(cache=True, nogil=True)
def _replay(
    clicked: Integers,
    price: Integers,
    rate: Floats,
    bids: Integers,
    table: Floats,
    by_value: bool,
    auctions: int,
    budget: int,
    highest: int,
) -> tuple[int, int, int]:
    impressions, clicks, cost = 0, 0, 0
    to_come, left = auctions, budget
    for entry in range(price.size):
        bid = min(bids[entry], left)
        if by_value:
            later = table[to_come - 1]
            bid = 0
            while bid < min(left, highest) and rate[entry] + later[left - bid - 1] - later[left] >= 0:
                bid += 1
        if bid >= price[entry]:
            impressions += 1
            clicks += clicked[entry]
            cost += price[entry]
            left -= price[entry]
        to_come -= 1
        if to_come == 0:
            to_come, left = auctions, budget
    return impressions, clicks, cost
