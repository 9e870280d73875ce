"""Text pre-training: simulated posteriors, its batches, its loss."""

from dataclasses import replace

import numpy as np
import pytest

from nim4asr.errors import InputError
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.text_pretraining import (
    SimulationConfig,
    TextPretraining,
    TextSampler,
    simulate,
)
from training.toys import LOOP, text_sampler, train


def test_text_pretraining(model: TrainableModel) -> None:
    one = text_sampler(model)(0, np.random.default_rng(0))
    objective = TextPretraining(LOOP).objective(model)
    first, last, moved = train(objective, one, objective)
    assert last < first
    assert "phoneme_embedding.embedding" in moved
    assert any(name.startswith("phoneme_embedding.llm.") for name in moved)
    with pytest.raises(InputError, match="trained from scratch"):
        TextPretraining(LOOP).objective(replace(model, phoneme_embedding=None))


def test_hints_stand_in_the_prompts_of_text_pretraining(model: TrainableModel) -> None:
    hints = HintSampling(share=1.0, unrelated_share=0.0, drop_probability=0.0)
    one = text_sampler(model, hints=hints)(0, np.random.default_rng(0))
    assert one.hints is not None and any(one.hints)
    objective = TextPretraining(LOOP).objective(model)
    random = np.random.default_rng(0)
    with_hints, without = (
        mean_loss(objective(one, random)),
        mean_loss(objective(replace(one, hints=None), random)),
    )
    assert with_hints.item() != without.item()


def test_longer_texts_are_left_out() -> None:
    labeled = [("a", [1, 2]), ("b", [1] * 30)]
    config = TextPretraining(LOOP, batch_tokens=400, max_phonemes=10)
    texts = {
        t for step in range(4) for t in TextSampler(labeled, config, 4)(step, np.random.default_rng(0)).texts
    }
    assert texts == {"a"}


def test_simulated_posteriors_hold_the_text() -> None:
    phonemes = TABLE.encode(pronounce("今天天气很好"))
    clean = SimulationConfig(blur_rate=0, substitution_rate=0, deletion_rate=0, insertion_rate=0)
    indices, weights = simulate(phonemes, 4, clean, np.random.default_rng(0))
    assert indices.shape[1:] == weights.shape[1:] == (4, 2)
    assert [int(i) for i in indices[..., 0].flatten() if i != 0] == phonemes
    np.testing.assert_allclose(weights.sum(-1), 1.0)
