"""Cross entropy of transcripts."""

import numpy as np
import torch

from nim4asr.data.batches import SpeechBatch
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.rl import Rl
from training.toys import LOOP


def test_an_empty_transcript_can_be_learnt(model: TrainableModel) -> None:
    quiet = SpeechBatch(
        torch.zeros(1, 2, 100, 80),
        torch.tensor([100, 60]),
        torch.zeros(0, dtype=torch.long),
        torch.tensor([0, 0]),
        ("", ""),
        ("a", "b"),
        100,
    )
    for stage in (JointSft(LOOP), IaSft(LOOP), Rl(LOOP, group_size=2)):
        objective = stage.objective(model)
        objective.open()
        assert torch.isfinite(mean_loss(objective(quiet, np.random.default_rng(0))))
