from dataclasses import replace

import pytest

from conftest import toy_config
from nim4asr.data.amount import Amount
from nim4asr.errors import InputError
from nim4asr.training.costs import CostModel
from nim4asr.training.machine import Machine
from nim4asr.training.plan import as_text, duration, plan_run, rate, size, speech
from nim4asr.training.recipe import CorpusConfig, Recipe
from nim4asr.training.speech import SpeechData, StoredFrames
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.text_pretraining import TextPretraining
from training.toys import LOOP

CONFIG = toy_config(200)
MACHINE = Machine("a toy", "cpu", 24 * 10**9, 10**12, 1e12, "no")
AMOUNT = Amount(1000, 3600.0)
DATA = SpeechData(60.0, utterance_cost_s=2.0)
FRAMES = replace(DATA, frames=StoredFrames())
LONG = replace(LOOP, steps=300, keep_states=1)


def recipe(stored: bool = True) -> Recipe:
    return Recipe(
        network=toy_config,
        corpora={"toy": CorpusConfig(None, stored=stored)},  # type: ignore[arg-type]
        stages={
            "alignment": Alignment(LONG, FRAMES),
            "ia-sft": IaSft(replace(LONG, accumulation_steps=2), FRAMES),
            "joint-sft": JointSft(LONG, DATA),
            "text": TextPretraining(LONG),
        },
    )


def test_a_run_takes_what_its_stages_take() -> None:
    names = ["alignment", "ia-sft", "joint-sft"]
    plan = plan_run(recipe(), CONFIG, MACHINE, AMOUNT, names)
    costs = CostModel(CONFIG, "no")
    stages = [recipe().stages[name] for name in names]
    alignment, ia_sft, joint = (costs.cost(stage) for stage in stages)  # type: ignore[arg-type]
    # 300 steps of 60 s, of which 3600 in 5600 are sound.
    first, second, third = plan.stages
    heard = 300 * 60.0 * 3600 / 5600
    assert third.seconds == pytest.approx(joint.seconds(MACHINE, heard, 18_000.0, 300))
    assert second.seconds == pytest.approx(ia_sft.seconds(MACHINE, 2 * heard, 36_000.0, 600))
    stored = alignment.frame_seconds(MACHINE, 3600.0)
    assert first.seconds == pytest.approx(alignment.seconds(MACHINE, heard, 18_000.0, 300) + stored)
    # Frames are stored once, for both, and taken away later: an hour twice, 25 frames a second of 16 numbers.
    frames = 2 * 3600 * 25 * 16 * 2
    states = [12 * cost.trained for cost in (alignment, ia_sft, joint)]
    assert [stage.disk_bytes for stage in plan.stages] == [states[0] + frames, *states[1:]]
    features = 3600 * 100 * 80 * 2
    assert plan.disk_bytes == pytest.approx(sum(states) + frames + features + 2 * costs.parameters)
    assert plan.seconds == sum(stage.seconds for stage in plan.stages)
    assert plan.memory_bytes == third.memory_bytes == joint.memory_bytes(60.0)
    read = plan_run(recipe(stored=False), CONFIG, MACHINE, AMOUNT, names)
    assert read.disk_bytes == pytest.approx(plan.disk_bytes - features)


def test_frames_are_stored_anew_behind_a_stage_that_reads_features() -> None:
    whole = recipe()
    again = replace(
        whole,
        stages={"a": whole.stages["alignment"], "j": whole.stages["joint-sft"]}
        | {"b": whole.stages["alignment"]},
    )
    plan = plan_run(again, CONFIG, MACHINE, AMOUNT, ["a", "j", "b"])
    assert plan.stages[0].seconds == plan.stages[2].seconds > 0


def test_the_plan_for_a_reader() -> None:
    told = as_text(plan_run(recipe(), CONFIG, MACHINE, AMOUNT, ["alignment", "ia-sft"]))
    lines = told.splitlines()
    assert "1.0 hours of speech, 1,000 utterances" in lines[0]
    assert lines[1].startswith("a toy: 24.0 GB of memory to take, 1.00 TFLOP/s in float32, 1000 GB of disk")
    rows = [line.split("  ") for line in lines[3:7]]
    assert [row[0] for row in rows] == ["stage", "alignment", "ia-sft", "all"]
    assert "2 x 60 s" in lines[5]
    assert (
        lines[-1] == "Predicted by a formula, not measured; reading the corpora and dev metrics come on top."
    )


def test_a_stage_without_known_costs() -> None:
    with pytest.raises(InputError, match="what the stage 'text' costs cannot be predicted"):
        plan_run(recipe(), CONFIG, MACHINE, AMOUNT, ["text"])


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4.4, "4 s"), (89.0, "89 s"), (90.0, "2 min"), (5399.0, "90 min"), (9000.0, "2.5 h")],
)
def test_times_are_told_in_fitting_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("flops", "told"),
    [(1e14, "100.00 TFLOP/s"), (1e12, "1.00 TFLOP/s"), (4.4e10, "44 GFLOP/s"), (2.34e9, "2.3 GFLOP/s")],
)
def test_speeds_are_told_in_fitting_units(flops: float, told: str) -> None:
    assert rate(flops) == told


def test_little_is_not_told_as_nothing() -> None:
    assert [size(count) for count in (0, 9e5, 3.6e7, 4e8)] == ["0.0 GB", "under 1 MB", "36 MB", "0.4 GB"]
    assert [speech(seconds) for seconds in (114.0, 7200.0)] == ["1.9 minutes", "2.0 hours"]
    assert duration(0.2) == "under 1 s"
