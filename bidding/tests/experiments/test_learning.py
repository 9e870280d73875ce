from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="learning needs the extra rl")

from auctionlab.agents.dqn import Options
from auctionlab.experiments import learning_curve, massive
from auctionlab.experiments.store import Store
from auctionlab.market.world import World

QUICK = Options(layers=(16,), episodes=6, batch=16, memory=500, warmup=24)


def test_a_learning_curve_in_small(tmp_path: Path) -> None:
    config = learning_curve.LearningCurve(world=World(auctions=1_200), options=QUICK, seeds=2, try_every=3)
    told: list[tuple[int, int]] = []
    result = learning_curve.run(config, lambda *where: told.append(where), store=Store(tmp_path, config))
    assert told == [(1, 2), (2, 2)]
    assert [episode for episode, _ in result.seeds[0].curve] == [3, 6]
    assert all(0 < share <= 1.02 for seed in result.seeds for _, share in seed.curve)
    assert all(seed.unshaped is not None and seed.plan[0] > 0 for seed in result.seeds)
    assert learning_curve.run(config, store=Store(tmp_path, config, resume=True)) == result
    with pytest.raises(ValueError, match="at least one seed"):
        learning_curve.LearningCurve(seeds=0)


def test_a_massive_contest_in_small() -> None:
    config = massive.Massive(
        world=World(ads=12, auctions=1_200, candidates=6), options=QUICK, weights=(0.0, 1.0)
    )
    told: list[tuple[int, int]] = []
    result = massive.run(config, lambda *where: told.append(where))
    assert told[-1] == (12, 12)
    assert [row.name for row in result.rows][2:] == ["M-RMDP, weight 0", "M-RMDP, weight 1"]
    assert result.rows[0].gain == result.rows[0].cost == 1.0
    for row in result.rows:
        assert row.gain_per_cost == pytest.approx(row.gain / row.cost)
    with pytest.raises(ValueError, match="weights must lie between 0 and 1"):
        massive.Massive(weights=(2.0,))
    with pytest.raises(ValueError, match="budget_share must be above 0"):
        massive.Massive(budget_share=0.0)
