"""Would the laws notice? Faults are planted in the core one by one; each must be caught."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.markets import STYLES, random_budgets, random_market

from auctionlab.auction import clearing
from auctionlab.auction.mechanism import Mechanism, Rules
from auctionlab.auction.outcome import Outcome
from auctionlab.auction.reference import clear_by_definition
from auctionlab.market.market import Market

FAULTS = {
    "the price forgets the ad's own click rate": ("ranked[position + 1] / rate", "ranked[position + 1]"),
    "bids are not capped at the money left": ("min(bids[row], left[ad[row]])", "bids[row]"),
    "the reserve is not the least price": ("max(reserve, threshold)", "threshold"),
    "bids below the reserve take part": ("if offer >= reserve else 0.0", "if offer >= 0 else 0.0"),
    "the last of equal scores wins": (
        "if bests[block] > best:",
        "if bests[block] >= best and bests[block] > 0:",
    ),
    "the price is one rank too low": ("threshold = ranked[position + 1]", "threshold = ranked[position + 2]"),
    "VCG forgets the positions below": ("harm += (effects", "harm = (effects"),
    "VCG takes the whole effect": ("effects[position] - below", "effects[position]"),
    "VCG is not per click": ("harm / (effects[position] * rate)", "harm / rate"),
    "clicks ignore the position": ("clicking = rate * effects[position]", "clicking = rate"),
    "purchases without a click": ("if clicked > 0 and chance", "if chance"),
    "chance forgets the piece's first auction": ("chances(seed, first + auction)", "chances(seed, auction)"),
    "one chance for click and purchase": ("who, PURCHASE)", "who, CLICK)"),
    "money is not taken": ("left[who] -= charge", "pass"),
    "an impression is charged, not a click": ("charge = clicked * paid", "charge = paid"),
    "the worth forgets the price": ("bought * price[row]", "bought"),
    "everything counts as the top": ("if position == 0 else", "if position >= 0 else"),
    "the hour is the first one": ("when = hour[auction]", "when = 0"),
    "one position too many": (
        "shown = min(found, slots)",
        "shown = min(found, slots + 1) if found <= slots else slots - 1",
    ),
}


def planted(old: str, new: str) -> Callable[..., None]:
    """The core with one fault, as plain Python."""
    source = inspect.getsource(clearing.clear_compiled.py_func)
    assert old in source, f"{old!r} is not in the core any more; plant the fault where it belongs now"
    # All lines but the decorator's.
    body = source[source.index("def clear_compiled") :].replace(old, new)
    names: dict[str, Any] = {**vars(clearing)}
    names["_best_of"] = clearing._best_of.py_func
    # Plain Python would hand the compiled hash a plain integer, too large to be a signed one.
    names["chances"] = lambda seed, auction: np.uint64(clearing.chances(seed, auction))
    exec(compile(body, "planted", "exec"), names)
    return names["clear_compiled"]  # type: ignore[no-any-return]


def run(
    core: Callable[..., None], market: Market, budgets: np.ndarray, rules: Rules, seed: int | None
) -> Outcome:
    outcome = Outcome.empty(market.hours, budgets)
    core(
        market.first, market.offsets, market.ad, market.click, market.conversion, market.price, market.hour,
        market.bid, outcome.left, rules.effects, rules.reserve, rules.mechanism.code, seed is not None,
        seed or 0, outcome.sums,
    )  # fmt: skip
    return outcome


def differs(core: Callable[..., None], seed: int) -> bool:
    # Twenty ads take more than one block of the core's tournament.
    market = random_market(seed, STYLES[seed % 3], auctions=12, ads=20 if seed % 5 < 2 else 6)
    budgets = random_budgets(market, seed)
    rules = Rules(list(Mechanism)[seed % 3], (1.0, 0.6, 0.3), 0.3 if seed % 2 else 0.0)
    chance = seed if seed % 4 == 0 else None
    # A later piece of the day, whose auctions keep their numbers.
    piece = market.piece(3, market.auctions)
    expected = clear_by_definition(piece, None, budgets, rules, seed=chance)
    try:
        found = run(core, piece, budgets, rules, chance)
    except (IndexError, ZeroDivisionError):
        return True
    return any(
        not np.allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-12)
        for name in ("impressions", "top", "clicks", "cost", "conversions", "gmv", "left")
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_caught(name: str) -> None:
    core = planted(*FAULTS[name])
    assert any(differs(core, seed) for seed in range(48))


def test_without_a_fault_nothing_differs() -> None:
    core = planted("when = hour[auction]", "when = hour[auction]")
    assert not any(differs(core, seed) for seed in range(48))
