"""The experiments with games in miniature: what the docs say of them holds, with room."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from auctionlab.experiments import collusion, objectives, promise
from auctionlab.experiments.arena import Arena
from auctionlab.experiments.collusion import Collusion
from auctionlab.experiments.objectives import Objectives
from auctionlab.experiments.promise import Promise
from auctionlab.experiments.store import Store
from auctionlab.market.world import World

SMALL = Arena(world=World(ads=6, auctions=800, burst=1.0), train_days=2, seeds=2)


def test_cooperation_takes_revenue_and_floors_hold_it() -> None:
    result = collusion.run(Collusion(SMALL, floors=(0.7, 0.9, 1.3)))
    rows = {row.name: row for row in result.rows}
    selfish, common = rows["selfish"], rows["common"]
    assert selfish.revenue is not None and common.revenue is not None
    assert common.revenue.high < 0.05 < 0.6 < selfish.revenue.low
    assert common.surplus is not None and selfish.surplus is not None
    assert common.surplus.low > selfish.surplus.high
    for floor in (0.7, 0.9):
        held = rows[f"common, floor {floor}"]
        assert held.revenue is not None and held.revenue.mean == pytest.approx(floor, rel=0.03)
        assert not held.refused and not held.trouble
    refused = rows["common, floor 1.3"]
    assert refused.revenue is None and refused.refused == 2 and "the highest floor is" in refused.trouble[0]
    # Who cooperates could gain by betrayal, more than who does not.
    assert common.plan is not None and selfish.plan is not None and common.plan.low > selfish.plan.high


def test_finished_games_are_not_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Collusion(replace(SMALL, seeds=1, search=replace(SMALL.search, iterations=3)), floors=(0.9,))
    first = collusion.run(config, store=Store(tmp_path, config))
    monkeypatch.setattr(collusion, "play", None)
    # One seed has no standard error: NaN, which equals nothing.
    assert repr(collusion.run(config, store=Store(tmp_path, config, resume=True))) == repr(first)


def test_more_is_promised_than_is_delivered() -> None:
    result = promise.run(Promise(replace(SMALL, world=replace(SMALL.world, ads=5))))
    assert result.gap.mean > 0
    assert result.promised.mean > 1
    assert result.gap.mean == pytest.approx(result.promised.mean - result.delivered.mean)


def test_objectives_are_served_within_their_limits() -> None:
    result = objectives.run(Objectives(replace(SMALL, seeds=1)))
    rows = {row.name: row for row in result.rows}
    free, limited = rows["selfish, no limits"], rows["selfish"]
    assert free.excess is not None and limited.excess is not None and limited.wanted is not None
    assert limited.excess.mean < 0.05 < free.excess.mean
    assert limited.wanted["clicks"].mean > 1
    assert limited.ppc_multiplier is not None and limited.ppc_multiplier.mean > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "at least one seed"),
        ({"budget_share": 0.0}, "budget_share must be above 0"),
        ({"manual": 8}, "manual must lie between 0 and 7"),
        ({"train_days": 0}, "at least one day"),
    ],
)
def test_arenas_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arena(**changes)  # type: ignore[arg-type]
