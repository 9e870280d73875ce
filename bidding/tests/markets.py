"""Small random markets, drawn to be awkward."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.market.market import Market

STYLES = ("usual", "ties", "zeros", "tiny", "huge")


def random_market(seed: int, style: str = "usual", *, auctions: int = 25, ads: int = 6) -> Market:
    chance = np.random.default_rng(seed)
    sizes = chance.integers(0, ads + 1, size=auctions)
    who = [chance.permutation(ads)[:size] for size in sizes]
    ad = np.concatenate([*who, np.zeros(0, int)]).astype(int)
    count = ad.size
    bid = chance.lognormal(0, 0.7, count)
    click = chance.random(count) * 0.9
    if style == "ties":
        bid, click = chance.integers(0, 3, count) * 0.5, chance.integers(1, 3, count) * 0.25
    if style == "zeros":
        bid, click = bid * (chance.random(count) < 0.5), click * (chance.random(count) < 0.7)
    if style == "tiny":
        bid = bid * 1e-12
    if style == "huge":
        bid = bid * 1e12
    return Market.of(
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        ad=ad,
        click=click,
        conversion=chance.random(count),
        price=chance.lognormal(0, 1, count),
        bid=bid,
        hour=np.sort(chance.integers(0, 4, auctions)),
        keyword=chance.integers(0, 3, auctions),
        ads=ads,
        hours=4,
    )


def random_budgets(market: Market, seed: int) -> np.ndarray:
    chance = np.random.default_rng([seed, 1])
    scale = float(np.median(market.bid)) if market.candidates else 1.0
    if scale == 0:
        # Most bids are 0; the definition of VCG, which subtracts sums of bids, cannot tell much less money.
        scale = float(market.bid.mean()) or 1.0
    budgets = chance.lognormal(0, 1.5, market.ads) * scale
    budgets[chance.random(market.ads) < 0.2] = np.inf
    budgets[chance.random(market.ads) < 0.1] = 0.0
    return budgets


seeds = st.integers(0, 2**32 - 1)
styles = st.sampled_from(STYLES)
mechanisms = st.sampled_from(Mechanism)


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    falling = sorted(
        draw(st.lists(st.sampled_from([0.0, 0.2, 0.35, 0.5, 0.7, 1.0]), max_size=4)), reverse=True
    )
    reserve = draw(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]))
    return Rules(draw(mechanisms), (1.0, *falling), reserve)
