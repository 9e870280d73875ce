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


def test_by_default_few_phonemes_are_lost_or_added() -> None:
    phonemes = [1 + place % 30 for place in range(4000)]
    indices, _ = simulate(phonemes, 4, SimulationConfig(), np.random.default_rng(0))
    heard = np.count_nonzero(indices[..., 0])
    # 4 of 100 are left out, 3 of 100 put in.
    assert 0.97 < heard / len(phonemes) < 1.01


def test_a_batch_is_as_large_as_it_may_be() -> None:
    labeled = [(f"text {number}", [1] * 60) for number in range(100)]

    def texts(stack: int) -> int:
        sampler = TextSampler(labeled, TextPretraining(LOOP, batch_tokens=2000), stack)
        return max(len(sampler(step, np.random.default_rng(0)).texts) for step in range(2))

    # Of 60 phonemes of 2.9 frames, four frames to a speech token, and as many text tokens and wording as
    # the sampler counts: about 88 tokens a text; about 218 where each frame is a token.
    assert 20 <= texts(stack=4) <= 24
    assert 8 <= texts(stack=1) <= 10


def test_by_default_a_phoneme_lasts_as_long_as_in_speech() -> None:
    clean = SimulationConfig(
        blur_rate=0, substitution_rate=0, deletion_rate=0, insertion_rate=0, max_silence_frames=0
    )
    indices, _ = simulate([1 + place % 30 for place in range(8000)], 4, clean, np.random.default_rng(0))
    # In frames of 40 ms: 116 ms.
    assert indices[..., 0].size / 8000 == pytest.approx(2.9, abs=0.06)
