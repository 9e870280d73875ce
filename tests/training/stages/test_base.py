"""Every stage for a few steps on the toy: the loss falls, and what is frozen does not move."""

import pytest

from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import Stage
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.flat_start import FlatStart
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.text_pretraining import (
    TextPretraining,
)
from training.toys import LOOP, SPEECH, batch, blocks, train

EVERYTHING = {"encoder", "phoneme_head", "adaptor", "llm"}


@pytest.mark.parametrize(
    ("stage", "trained"),
    [
        (FlatStart(LOOP, SPEECH), {"encoder", "phoneme_head"}),
        (Pretraining(LOOP, SPEECH, views=1), {"encoder", "phoneme_head"}),
        (Alignment(LOOP, SPEECH, imitate=True), {"adaptor"}),
        (Alignment(LOOP, SPEECH), {"adaptor"}),
        (IaSft(LOOP, SPEECH), {"adaptor", "llm"}),
        (MixedText(IaSft(LOOP, SPEECH), TextPretraining(LOOP)), {"adaptor", "llm"}),
        (JointSft(LOOP, SPEECH), EVERYTHING),
        (MixedText(JointSft(LOOP, SPEECH), TextPretraining(LOOP)), EVERYTHING),
        (ContextSft(LOOP, SPEECH), EVERYTHING),
        (PhonemeHeadTuning(LOOP, SPEECH), {"phoneme_head"}),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Stage) else "",
)
def test_a_stage_learns_and_what_it_freezes_does_not_move(
    model: TrainableModel, stage: Stage, trained: set[str]
) -> None:
    first, last, moved = train(stage.objective(model), batch(), model.network, 30)
    assert last < first
    assert blocks(moved) == trained


@pytest.mark.parametrize(
    ("stage", "frozen"),
    [
        (Alignment(LOOP, SPEECH), {"encoder", "phoneme_head", "llm"}),
        (IaSft(LOOP, SPEECH), {"encoder", "phoneme_head"}),
        (MixedText(IaSft(LOOP, SPEECH), TextPretraining(LOOP)), {"encoder", "phoneme_head"}),
        (JointSft(LOOP, SPEECH), set()),
        (PhonemeHeadTuning(LOOP, SPEECH), {"encoder", "adaptor", "llm"}),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Stage) else "",
)
def test_what_is_frozen_runs_without_dropout(model: TrainableModel, stage: Stage, frozen: set[str]) -> None:
    model.network.train()
    objective = stage.objective(model).train()
    reached = {id(module) for module in objective.modules()}
    for name, block in model.network.named_children():
        if id(block) in reached:
            assert {module.training for module in block.modules()} == {name not in frozen}, name
