"""Alignment."""

from dataclasses import replace

import pytest

from nim4asr.errors import InputError
from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.alignment import Alignment
from training.toys import LOOP


def test_imitation_needs_an_embedding_of_phonemes(model: TrainableModel) -> None:
    with pytest.raises(InputError, match="no text pre-training"):
        Alignment(LOOP, imitate=True).objective(replace(model, phoneme_embedding=None))
