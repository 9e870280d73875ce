"""AMDP: the rival that SS-RTB compares with, an agent that sets the bid itself every 100 auctions.

The paper takes every 100th auction as the next state. Here a day is divided into steps of so many auctions,
and the same learner is given the same observation, so that nothing differs but the step and the action.
"""

from __future__ import annotations

from collections.abc import Sequence

from auctionlab.auction.mechanism import Rules
from auctionlab.bids.signals import Signal
from auctionlab.environments.hourly import HourlyBidding
from auctionlab.market.market import Market

STEP = 100
"""Auctions in a step."""


def environment(
    days: Sequence[Market],
    *,
    ad: int = 0,
    budget: float | Sequence[float] | None = None,
    rules: Rules | None = None,
    step: int = STEP,
    like: HourlyBidding | None = None,
) -> HourlyBidding:
    """The auction-level process of one ad; train it with `auctionlab.agents.robust.train`.

    Raises ValueError where the step is below one, or as `HourlyBidding` does.
    """
    return HourlyBidding(
        [day.divided(step) for day in days], ad=ad, budget=budget, rules=rules, signal=Signal.FLAT, like=like
    )
