from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from auctionlab.auction.chance import CLICK, PURCHASE, uniform

MASK = 2**64 - 1


def mixed(word: int) -> int:
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & MASK
    return word ^ (word >> 31)


@given(
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(0, 2**31),
    st.sampled_from([CLICK, PURCHASE]),
)
def test_it_is_the_hash_that_it_says(seed: int, auction: int, ad: int, purpose: int) -> None:
    step = 0x9E3779B97F4A7C15
    word = mixed((seed + step) & MASK)
    word = mixed(((word ^ auction) + step) & MASK)
    word = mixed(((word ^ (2 * ad + purpose)) + step) & MASK)
    assert uniform(seed, auction, ad, purpose) == (word >> 11) / 2**53


def test_numbers_are_even_and_unrelated() -> None:
    drawn = np.array([[uniform(7, auction, ad, CLICK) for ad in range(40)] for auction in range(500)])
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(np.var(drawn) - 1 / 12) < 0.003
    other = np.array([[uniform(7, auction, ad, PURCHASE) for ad in range(40)] for auction in range(500)])
    for first, second in ((drawn, other), (drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
