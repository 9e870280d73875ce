"""The published table of iPinYou's campaign 2997, from a log that is read from a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auctionlab.logs.ipinyou import BIDDER, read_prepared, read_training
from auctionlab.optimum.display import DisplayPolicy, Replay, replay

PUBLISHED = {
    DisplayPolicy.RLB: Replay(156_063, 39_680, 78, 304_375),
    DisplayPolicy.SS_MDP: Replay(156_063, 40_395, 80, 306_637),
    DisplayPolicy.MCPC: Replay(156_063, 14_752, 48, 307_751),
    DisplayPolicy.LIN: Replay(156_063, 32_208, 71, 203_610),
}
"""What was published with the RLB paper's code for campaign 2997, N = 1000, c0 = 1/32, base bid 10."""


@dataclass(frozen=True)
class Row:
    """One policy at one budget."""

    policy: DisplayPolicy
    """How it bids."""
    budget_share: float
    """c0: the budget as a share of what all impressions would cost."""
    got: Replay
    """What it got."""


def run(
    log: Path | str,
    training: Path | str,
    *,
    policies: Sequence[DisplayPolicy] = tuple(DisplayPolicy),
    budget_shares: Sequence[float] = (1 / 32,),
    auctions: int = 1000,
) -> tuple[Row, ...]:
    """Replay a prepared log ("click price predicted") with every policy at every budget.

    Raises FileNotFoundError and ValueError as the readers do.
    """
    market = read_prepared(log)
    counts = read_training(training)
    row = market.rows_of(BIDDER)
    clicked, predicted = market.conversion[row], market.predicted[row]
    price = market.bid[market.rows_of(1 - BIDDER)]
    return tuple(
        Row(
            policy,
            share,
            replay(
                clicked.astype(int),
                price.astype(int),
                predicted,
                counts,
                policy,
                auctions=auctions,
                budget_share=share,
            ),
        )
        for share in budget_shares
        for policy in policies
    )
