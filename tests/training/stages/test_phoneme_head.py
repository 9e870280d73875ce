"""The head's last stage."""

import numpy as np
import pytest

from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import ChunkSampling, Pretraining
from training.toys import LOOP, SPEECH, batch


def test_the_head_s_last_stage_has_the_loss_of_the_first(model: TrainableModel) -> None:
    settings = {"views": 2, "consistency_weight": 0.7, "chunks": ChunkSampling(0.0)}
    last = PhonemeHeadTuning(LOOP, SPEECH, **settings).objective(model)  # type: ignore[arg-type]
    parts = last(batch(2), np.random.default_rng(1))
    first = Pretraining(LOOP, SPEECH, **settings).objective(model)  # type: ignore[arg-type]
    for name, part in first(batch(2), np.random.default_rng(1)).items():
        assert (
            parts[name].total.item() == pytest.approx(part.total.item()) and parts[name].weight == part.weight
        )
