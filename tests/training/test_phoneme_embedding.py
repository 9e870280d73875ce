"""What text pre-training reads in the place of speech."""

from dataclasses import replace

import numpy as np
import torch

from nim4asr.model.nim4 import Nim4
from nim4asr.phonemes import TABLE
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.model import TrainableModel
from nim4asr.training.phoneme_embedding import PhonemeEmbedding
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.text_pretraining import (
    SimulationConfig,
    simulate,
)
from nim4asr.training.tokenizer import train_tokenizer
from training.toys import LOOP, SPEECH, batch


def test_e_of_a_trained_model_is_fitted_to_its_adaptor(model: TrainableModel) -> None:
    assert model.phoneme_embedding is not None
    objective = Alignment(LOOP, SPEECH, imitate=True).objective(model)

    def distance() -> float:
        return float(mean_loss(objective(batch(), np.random.default_rng(0))).detach())

    fresh = distance()
    assert model.network.phoneme_head is not None
    # A head that is sure of itself.
    with torch.no_grad():
        for p in model.network.phoneme_head.parameters():
            p.mul_(20.0)
    model.phoneme_embedding.fit(model.network, [batch(), batch()], ridge=1e-6)
    fitted = distance()
    model.phoneme_embedding.fit(model.network, [batch(), batch()], ridge=1e6)
    assert fitted < 0.5 < fresh
    # With that much weight on it, E is as good as nothing.
    assert float(model.phoneme_embedding.embedding.detach().abs().max()) < 1e-2


def test_embedding_candidates_is_embedding_posteriors(model: TrainableModel) -> None:
    model = PhonemeEmbedding(model.network)
    indices, weights = simulate([5, 60, 230], 4, SimulationConfig(), np.random.default_rng(1))
    posteriors = torch.zeros(1, indices.shape[0] * 4, len(TABLE))
    flat = torch.from_numpy(indices).reshape(-1, 2), torch.from_numpy(weights).reshape(-1, 2)
    for frame, (index, weight) in enumerate(zip(*flat, strict=True)):
        posteriors[0, frame].index_add_(0, index, weight)
    torch.testing.assert_close(
        model.embed(torch.from_numpy(indices)[None], torch.from_numpy(weights)[None]),
        model.embed_posteriors(posteriors),
    )


def test_tokens_that_sound_alike_start_alike(model: TrainableModel) -> None:
    network = model.network
    tokenizer = train_tokenizer(["他她它天气汽车"] * 3, 40)
    torch.manual_seed(0)
    fresh = Nim4(replace(network.config, llm={**(network.config.llm or {}), "vocab_size": len(tokenizer)}))
    PhonemeEmbedding(fresh).start_tokens_by_sound(tokenizer)
    vectors = fresh.llm.get_input_embeddings().weight.detach()
    he, she, steam = (vectors[tokenizer.encode(c)[0]] for c in "他她汽")
    assert torch.cosine_similarity(he, she, dim=0) > 0.25 + torch.cosine_similarity(he, steam, dim=0)
