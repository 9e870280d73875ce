import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.model.shapes import ChunkScheme
from nim4asr.training.finetuning.plan import plan_for, sampling, training_seconds


@pytest.mark.parametrize(
    ("hours", "passes", "batch_seconds", "rate"),
    # 12 / sqrt(hours) passes, 60 at most and 2 at least; a twentieth of the speech in a batch, of 16 to 64 s;
    # 3e-4, and hours ** 0.25 of it for less than one.
    [(0.02, 60, 16, 1.1e-4), (0.25, 24, 45, 2.1e-4), (1, 12, 64, 3e-4), (9, 4, 64, 3e-4), (100, 2, 64, 3e-4)],
)
def test_little_speech_is_heard_more_often_and_more_gently(
    hours: float, passes: float, batch_seconds: float, rate: float
) -> None:
    plan = plan_for(3600 * hours, 14_000_000)
    assert plan.batch_seconds == batch_seconds and plan.peak_lr == pytest.approx(rate, rel=0.03)
    assert plan.steps == pytest.approx(max(100, passes * 3600 * hours / batch_seconds), abs=1)
    assert plan.muon


def test_what_is_given_is_taken_and_large_models_learn_as_the_paper_has_it() -> None:
    plan = plan_for(3600, 2_300_000_000, steps=7, peak_lr=1e-6)
    assert (plan.steps, plan.peak_lr, plan.muon) == (7, 1e-6, False)
    # The paper's joint SFT has 1e-5.
    assert 1e-5 < plan_for(3600, 2_300_000_000).peak_lr < 3e-5
    alone, beside = plan_for(3600, 14_000_000), plan_for(3600, 14_000_000, replayed=1800)
    assert beside.steps == pytest.approx(1.5 * alone.steps, abs=1)


@given(st.floats(30, 3e6), st.integers(10_000, 10**10), st.integers(1, 5000))
def test_the_rate_comes_all_the_way_down_whenever_half_time_is(
    seconds: float, parameters: int, half: int
) -> None:
    plan = plan_for(seconds, parameters)
    cut = plan.at_half_time(min(half, plan.hold))
    assert cut.steps <= plan.steps
    for each in (plan, cut):
        loop = each.stage(ChunkScheme()).loop
        assert loop.learning_rate(each.hold - 1) == pytest.approx(each.peak_lr)
        assert loop.learning_rate(each.steps) == pytest.approx(0.0, abs=1e-12)
    # Up to half time both have the same rates.
    for step in range(0, cut.hold, max(1, cut.hold // 7)):
        warm = max(plan.stage(None).loop.warmup_steps, cut.stage(None).loop.warmup_steps)
        if step >= warm:
            assert cut.stage(None).loop.learning_rate(step) == plan.stage(None).loop.learning_rate(step)


def test_the_chunks_are_those_that_the_model_is_run_in() -> None:
    assert sampling(None).full_context_share == 1.0
    usual = sampling(ChunkScheme(16, 4))
    assert (usual.frames, usual.left) == ((4, 25), (1, 8)) and usual.full_context_share == 0.5
    assert sampling(ChunkScheme(40, 0)).frames == (4, 40) and sampling(ChunkScheme(2, 12)).left == (1, 12)
    assert sampling(ChunkScheme(40, 0)).left == (0, 8)
    assert plan_for(60, 1).stage(None).chunks == sampling(None)


def test_only_steps_that_count_are_timed(tmp_path: Path) -> None:
    rows = [
        {"step": 10, "loss": 1.0, "seconds_per_step": 0.5},
        {"step": 10, "dev": 0.3},
        {"step": 30, "loss": 1.0, "seconds_per_step": 2.0},
    ]
    assert training_seconds(tmp_path) == 0.0
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_seconds(tmp_path) == 45.0
