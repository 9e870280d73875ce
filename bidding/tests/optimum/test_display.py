from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auctionlab.experiments.real_log import PUBLISHED, run
from auctionlab.optimum.display import DisplayPolicy, Training, replay, value_table

TRAINING = Training(impressions=100, clicks=10, cost=300, prices=np.array([5, 10, 20, 30, 20, 15]))
SHARED = Path(__file__).parents[4] / "shared" / "bidding"


def test_the_value_table_is_the_best_over_all_bids() -> None:
    """The recursion by its definition, trying every bid."""
    table = value_table(TRAINING, auctions=6, budget=9)
    rates, click = TRAINING.price_rates, TRAINING.click_rate
    expected = np.zeros((6, 10))
    for left in range(1, 6):
        for money in range(10):
            expected[left, money] = max(
                sum(
                    rate
                    * (
                        click + expected[left - 1, money - price]
                        if price <= bid
                        else expected[left - 1, money]
                    )
                    for price, rate in enumerate(rates)
                )
                for bid in range(min(5, money) + 1)
            )
    # With no money, impressions that cost nothing are left; the published recursion does not count them.
    np.testing.assert_allclose(table[:, 1:], expected[:, 1:], atol=0.02)
    assert (np.diff(table, axis=1) >= -1e-12).all() and (np.diff(table, axis=0) >= -1e-12).all()


def test_a_fixed_bid_by_hand() -> None:
    clicked, price = [1, 0, 1, 1], [3, 5, 4, 1]
    predicted = [0.1, 0.1, 0.2, 0.1]
    got = replay(
        clicked, price, predicted, TRAINING, DisplayPolicy.LIN, auctions=4, budget_share=0.5, base_bid=3.0
    )
    # Bids 3, 3, 5, 3 of at most 5; the budget is 3 x 0.5 x 4 = 6. Won: 3, then 3 left is below 4, then 1.
    assert (got.auctions, got.impressions, got.clicks, got.cost) == (4, 2, 2, 4)


def test_each_episode_has_its_own_budget() -> None:
    got = replay([0] * 6, [2] * 6, [0.1] * 6, TRAINING, DisplayPolicy.LIN, auctions=2, budget_share=0.5)
    assert got.impressions == 3


@pytest.mark.parametrize("policy", DisplayPolicy)
def test_no_money_buys_nothing_that_costs(policy: DisplayPolicy) -> None:
    got = replay([1, 1], [1, 2], [0.5, 0.5], TRAINING, policy, budget_share=0.0)
    assert got.impressions == got.cost == 0


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="columns must be of one length"):
        replay([1], [1, 2], [0.1], TRAINING, DisplayPolicy.LIN)
    with pytest.raises(ValueError, match="at least 1 auction"):
        replay([1], [1], [0.1], TRAINING, DisplayPolicy.LIN, auctions=0)
    with pytest.raises(ValueError, match="budget_share must be 0 or more"):
        replay([1], [1], [0.1], TRAINING, DisplayPolicy.LIN, budget_share=-1)
    with pytest.raises(ValueError, match="market prices must be 0 or more"):
        replay([1], [-1], [0.1], TRAINING, DisplayPolicy.LIN)
    with pytest.raises(ValueError, match="an episode needs"):
        value_table(TRAINING, 0, 5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs iPinYou's campaign 2997, which is not ours to ship")
def test_the_four_published_rows_come_out_to_the_last_unit() -> None:
    rows = run(SHARED / "ipinyou-2997-test.txt.gz", SHARED / "ipinyou-2997-info.json")
    assert {row.policy: row.got for row in rows} == PUBLISHED
