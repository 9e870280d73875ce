"""Laws that hold in every market."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.markets import mechanisms, random_budgets, random_market, rules, seeds, styles

from auctionlab.auction.clearing import clear
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.auction.reference import clear_by_definition
from auctionlab.market.market import Market

TABLES = ("impressions", "top", "clicks", "cost", "conversions", "gmv", "left")
chances = st.none() | st.integers(0, 2**62)


def same(first: Outcome, second: Outcome) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in TABLES)


def assert_close(first: Outcome, second: Outcome, money: float) -> None:
    """Equal but for rounding; the definition of VCG subtracts sums of money, so that money rounds."""
    for name in TABLES:
        least = 1e-12 * money if name in ("cost", "left") else 1e-12
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9, atol=least)


@settings(max_examples=300)
@given(
    seed=seeds,
    style=styles,
    given_rules=rules(),
    chance=chances,
    limited=st.booleans(),
    ads=st.sampled_from([1, 6, 8, 20]),
)
@example(seed=0, style="usual", given_rules=Rules(Mechanism.VCG), chance=None, limited=True, ads=6)
def test_the_core_is_the_definition(
    seed: int, style: str, given_rules: Rules, chance: int | None, limited: bool, ads: int
) -> None:
    market = random_market(seed, style, ads=ads)
    if style in ("tiny", "huge"):
        given_rules = Rules(given_rules.mechanism, given_rules.positions)
    budgets = random_budgets(market, seed) if limited else None
    assert_close(
        clear(market, None, budgets, given_rules, seed=chance),
        clear_by_definition(market, None, budgets, given_rules, seed=chance),
        float(market.bid.max(initial=0.0)),
    )


@settings(max_examples=150)
@given(seed=seeds, style=styles, given_rules=rules(), chance=chances)
def test_nobody_overspends_and_money_is_accounted_for(
    seed: int, style: str, given_rules: Rules, chance: int | None
) -> None:
    market = random_market(seed, style)
    budgets = random_budgets(market, seed)
    outcome = clear(market, None, budgets, given_rules, seed=chance)
    assert (outcome.left >= 0).all()
    spent = outcome.cost.sum(axis=0)
    finite = np.isfinite(budgets)
    assert (spent[finite] <= budgets[finite] * (1 + 1e-12)).all()
    np.testing.assert_allclose(
        outcome.left[finite],
        budgets[finite] - spent[finite],
        rtol=1e-9,
        atol=1e-9 * max(1.0, float(np.max(budgets[finite], initial=0))),
    )
    assert (outcome.impressions[:, budgets == 0] == 0).all()
    assert outcome.revenue == pytest.approx(outcome.cost.sum())


@settings(max_examples=150)
@given(
    seed=seeds,
    style=styles,
    given_rules=rules(),
    chance=chances,
    cuts=st.lists(st.integers(0, 25), max_size=4),
)
def test_a_day_cut_anywhere_comes_out_bit_equal(
    seed: int, style: str, given_rules: Rules, chance: int | None, cuts: list[int]
) -> None:
    market = random_market(seed, style)
    budgets = random_budgets(market, seed)
    whole = clear(market, None, budgets, given_rules, seed=chance)
    pieces = Outcome.empty(market.hours, budgets)
    edges = [0, *sorted(cuts), market.auctions]
    for start, stop in itertools.pairwise(edges):
        clear(market.piece(start, stop), rules=given_rules, seed=chance, into=pieces)
    assert same(whole, pieces)


def one_auction(bids: list[float], rates: list[float]) -> Market:
    return Market.of(offsets=[0, len(bids)], ad=np.arange(len(bids)), click=rates, bid=bids, hours=1)


offers = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 1)), min_size=1, max_size=7)


@given(offers=offers, reserve=st.sampled_from([0.0, 0.5, 2.0]))
def test_first_price_costs_most_and_vcg_least(offers: list[tuple[float, float]], reserve: float) -> None:
    market = one_auction(*map(list, zip(*offers, strict=True)))
    first, second, vcg = (
        clear(market, rules=Rules(mechanism, reserve=reserve)).cost
        for mechanism in (Mechanism.FIRST_PRICE, Mechanism.GSP, Mechanism.VCG)
    )
    assert (first >= second * (1 - 1e-12)).all()
    assert (second >= vcg * (1 - 1e-12)).all()


@given(offers=offers, lie=st.floats(0.01, 20))
def test_vcg_makes_truth_the_best_bid(offers: list[tuple[float, float]], lie: float) -> None:
    values, rates = map(list, zip(*offers, strict=True))

    def profit(bid: float) -> float:
        outcome = clear(one_auction([bid, *values[1:]], rates), rules=Rules(Mechanism.VCG))
        return float(outcome.clicks[0, 0] * values[0] - outcome.cost[0, 0])

    assert profit(values[0]) >= profit(lie) - 1e-9


@given(offers=offers, more=st.floats(1.0, 5.0), mechanism=mechanisms, chance=st.integers(0, 2**40))
def test_a_higher_bid_never_loses_a_position_or_a_click(
    offers: list[tuple[float, float]], more: float, mechanism: Mechanism, chance: int
) -> None:
    bids, rates = map(list, zip(*offers, strict=True))
    low = clear(one_auction(bids, rates), rules=Rules(mechanism))
    high = clear(one_auction([bids[0] * more, *bids[1:]], rates), rules=Rules(mechanism))
    assert high.clicks[0, 0] >= low.clicks[0, 0]
    drawn_low = clear(one_auction(bids, rates), rules=Rules(mechanism), seed=chance)
    drawn_high = clear(one_auction([bids[0] * more, *bids[1:]], rates), rules=Rules(mechanism), seed=chance)
    assert drawn_high.clicks[0, 0] >= drawn_low.clicks[0, 0]


@pytest.mark.parametrize("mechanism", [Mechanism.GSP, Mechanism.VCG])
def test_a_lone_bidder_above_the_reserve_wins_and_pays_it(mechanism: Mechanism) -> None:
    outcome = clear(one_auction([3.0], [0.5]), rules=Rules(mechanism, reserve=1.25))
    assert outcome.impressions[0, 0] == outcome.top[0, 0] == 1
    assert outcome.cost[0, 0] == 0.5 * 1.25
    assert clear(one_auction([1.0], [0.5]), rules=Rules(mechanism, reserve=1.25)).impressions.sum() == 0


@given(seed=seeds, given_rules=rules(), chance=chances, power=st.integers(-20, 20))
def test_money_in_other_units_is_the_same_day(
    seed: int, given_rules: Rules, chance: int | None, power: int
) -> None:
    market, scale = random_market(seed), 2.0**power
    budgets = random_budgets(market, seed)
    scaled = Rules(given_rules.mechanism, given_rules.positions, given_rules.reserve * scale)
    plain = clear(market, None, budgets, given_rules, seed=chance)
    other = clear(market, market.bid * scale, budgets * scale, scaled, seed=chance)
    # A power of two scales every product exactly.
    assert np.array_equal(other.cost, plain.cost * scale)
    assert np.array_equal(other.clicks, plain.clicks)


@given(seed=seeds, style=styles, given_rules=rules(), chance=chances)
def test_an_ad_without_candidates_changes_nothing(
    seed: int, style: str, given_rules: Rules, chance: int | None
) -> None:
    market = random_market(seed, style)
    budgets = random_budgets(market, seed)
    arrays = {
        name: getattr(market, name)
        for name in ("offsets", "ad", "click", "conversion", "price", "bid", "hour")
    }
    wider = Market.of(**arrays, ads=market.ads + 1, hours=market.hours)
    first = clear(market, None, budgets, given_rules, seed=chance)
    second = clear(wider, None, np.append(budgets, 5.0), given_rules, seed=chance)
    for name in TABLES[:-1]:
        assert np.array_equal(getattr(second, name)[:, :-1], getattr(first, name))
        assert (getattr(second, name)[:, -1] == 0).all()


@given(seed=seeds, given_rules=rules())
def test_renamed_ads_get_what_they_got(seed: int, given_rules: Rules) -> None:
    market = random_market(seed)
    budgets = random_budgets(market, seed)
    names = np.random.default_rng(seed).permutation(market.ads)
    renamed = Market.of(
        offsets=market.offsets,
        ad=names[market.ad],
        click=market.click,
        conversion=market.conversion,
        price=market.price,
        bid=market.bid,
        hour=market.hour,
        ads=market.ads,
        hours=market.hours,
    )
    moved = np.empty_like(budgets)
    moved[names] = budgets
    first, second = clear(market, None, budgets, given_rules), clear(renamed, None, moved, given_rules)
    assert np.array_equal(second.cost[:, names], first.cost)
    assert np.array_equal(second.left[names], first.left)
