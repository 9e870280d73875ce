"""A toy under training."""

import copy

import pytest

from nim4asr.data.keywords import KeywordSet
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.training.model import TrainableModel
from nim4asr.training.phoneme_embedding import PhonemeEmbedding


@pytest.fixture
def model(toy_checkpoint: Checkpoint) -> TrainableModel:
    assert toy_checkpoint.tokenizer is not None
    network = copy.deepcopy(toy_checkpoint.network).requires_grad_(True)
    return TrainableModel(
        network, toy_checkpoint.tokenizer, PhonemeEmbedding(network), KeywordSet(["天气", "甜汽", "today"])
    )
