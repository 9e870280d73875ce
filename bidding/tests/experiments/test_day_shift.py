from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auctionlab.experiments import day_shift
from auctionlab.experiments.day_shift import SCENARIOS, DayShift
from auctionlab.experiments.store import Store, plain
from auctionlab.market.world import World

SMALL = DayShift(world=World(auctions=6_000), seeds=2)


def gain(result: day_shift.Result, policy: str) -> day_shift.Row:
    return next(row for row in result.rows if row.policy == policy)


def test_what_is_learned_per_auction_fails_and_per_hour_holds() -> None:
    result = day_shift.run(DayShift(seeds=3))
    amdp, rmdp, constant = (gain(result, name) for name in ("amdp", "rmdp", "constant"))
    assert amdp.train.mean > 10
    assert amdp.test.mean < 0 < rmdp.test.mean
    assert rmdp.test.mean > constant.test.mean
    assert rmdp.train.mean - rmdp.test.mean < 0.25 * rmdp.train.mean
    assert all(row.test.mean < result.hindsight.test.mean for row in result.rows)


def test_nothing_fails_where_the_order_of_bursts_is_the_same() -> None:
    result = day_shift.run(SCENARIOS["same"][1](DayShift(seeds=2)))
    amdp = gain(result, "amdp")
    assert amdp.test.mean > 0.6 * amdp.train.mean > 0


def test_chance_alone_makes_auction_level_plans_fail() -> None:
    result = day_shift.run(SCENARIOS["realized"][1](DayShift(seeds=2)))
    amdp, rmdp = gain(result, "amdp"), gain(result, "rmdp")
    assert amdp.train.mean > 50 and amdp.test.mean < -5
    assert rmdp.test.mean > 0


def test_hours_far_off_wear_the_hourly_plan_down() -> None:
    near, far = (
        day_shift.run(replace(DayShift(seeds=3), world=World(level_noise=eta))) for eta in (0.0, 0.5)
    )
    lost = [gain(r, "rmdp").train.mean - gain(r, "rmdp").test.mean for r in (near, far)]
    assert lost[0] < lost[1]


def test_threads_and_a_store_change_nothing(tmp_path: Path) -> None:
    alone = day_shift.run(SMALL, threads=1)
    stored = day_shift.run(SMALL, threads=2, store=Store(tmp_path, SMALL))
    (tmp_path / "seed-1.json").unlink()
    resumed = day_shift.run(SMALL, store=Store(tmp_path, SMALL, resume=True))
    assert alone == stored == resumed


def test_stored_seeds_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day_shift.run(SMALL, store=Store(tmp_path, SMALL))
    monkeypatch.setattr(day_shift, "compare", None)
    day_shift.run(SMALL, store=Store(tmp_path, SMALL, resume=True))


def test_a_store_of_another_experiment_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, SMALL)
    with pytest.raises(ValueError, match="go on with --resume"):
        Store(tmp_path, SMALL)
    with pytest.raises(ValueError, match="another configuration"):
        Store(tmp_path, replace(SMALL, seeds=5), resume=True)


def test_configurations_are_plain_json() -> None:
    text = json.dumps(plain(SMALL))
    assert json.loads(text)["rules"]["mechanism"] == "gsp"


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        DayShift(seeds=0)
    with pytest.raises(ValueError, match="at least one thread"):
        day_shift.run(SMALL, threads=0)
