"""Every stage for a few steps on the toy: the loss falls, and what is frozen does not move."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nim4asr.audio.features import Cmvn
from nim4asr.data.batches import SpeechBatch
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.encoder import ChunkScheme
from nim4asr.model.nim4 import Nim4
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.training.alignment import alignment_loss, freeze_for_alignment
from nim4asr.training.hints import HintSampling
from nim4asr.training.loop import LoopConfig
from nim4asr.training.optimiser import MuonAdamW, OptimiserConfig
from nim4asr.training.pretraining import AcousticModel, PretrainingConfig, draw_chunks, pretraining_loss
from nim4asr.training.sft import SftConfig, freeze_for_sft, sft_loss
from nim4asr.training.text_pretraining import (
    PhonemeSpeech,
    SimulationConfig,
    TextPretrainingConfig,
    TextSampler,
    simulate,
    text_pretraining_loss,
)
from nim4asr.training.tokenizer import train_tokenizer

LOOP = LoopConfig(10, OptimiserConfig(5e-3))
TEXTS = ("今天天气", "how are you")


@pytest.fixture
def network(toy_checkpoint: Checkpoint) -> Nim4:
    return copy.deepcopy(toy_checkpoint.network).requires_grad_(True)


def batch(views: int = 1) -> SpeechBatch:
    random = np.random.default_rng(0)
    phonemes = [TABLE.encode(pronounce(text)) for text in TEXTS]
    return SpeechBatch(
        features=torch.from_numpy(random.standard_normal((views, 2, 160, 80))).float(),
        lengths=torch.tensor([160, 150]),
        targets=torch.tensor([p for one in phonemes for p in one]),
        target_lengths=torch.tensor([len(one) for one in phonemes]),
        texts=TEXTS,
        ids=("a", "b"),
    )


def train(model: nn.Module, loss: object, steps: int = 12) -> tuple[float, float, set[str]]:
    """The first and the last loss, and the names of the parameters that moved."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = MuonAdamW(model.named_parameters(), LOOP.optimiser)
    history = []
    for _ in range(steps):
        parts = loss()  # type: ignore[operator]
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        history.append(float(parts["loss"].detach()))
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    return history[0], history[-1], moved


@pytest.mark.parametrize("views", [1, 2])
def test_pretraining(network: Nim4, views: int) -> None:
    assert network.phoneme_head is not None
    model = AcousticModel(network.encoder, network.phoneme_head)
    config = PretrainingConfig(LOOP, views=views)
    random = np.random.default_rng(0)
    first, last, moved = train(model, lambda: pretraining_loss(model, batch(views), config, random))
    assert last < first
    assert moved == {name for name, _ in model.named_parameters()}


def test_identical_views_have_no_divergence(network: Nim4) -> None:
    assert network.phoneme_head is not None
    model = AcousticModel(network.encoder, network.phoneme_head).eval()
    one = batch(1)
    twice = SpeechBatch(
        one.features.repeat(2, 1, 1, 1), one.lengths, one.targets, one.target_lengths, one.texts, one.ids
    )
    config = PretrainingConfig(LOOP, full_context_share=1.0)
    parts = pretraining_loss(model, twice, config, np.random.default_rng(0))
    assert parts["consistency"].item() == pytest.approx(0.0, abs=1e-5)
    single = PretrainingConfig(LOOP, views=1, full_context_share=1.0)
    alone = pretraining_loss(model, one, single, np.random.default_rng(0))
    assert float(parts["ctc"].detach()) == pytest.approx(float(alone["loss"].detach()), rel=1e-4)


def test_chunks_are_drawn_as_specified() -> None:
    config = PretrainingConfig(LOOP)
    random = np.random.default_rng(0)
    drawn = [draw_chunks(config, random) for _ in range(2000)]
    assert sum(one is None for one in drawn) == pytest.approx(1000, rel=0.1)
    sizes = {one.size for one in drawn if one is not None}
    assert sizes == set(range(4, 26))
    assert any(one == ChunkScheme(16, 4) for one in drawn)


def test_text_pretraining(network: Nim4, toy_checkpoint: Checkpoint) -> None:
    assert toy_checkpoint.tokenizer is not None
    model = PhonemeSpeech(network)
    labelled = [(text, TABLE.encode(pronounce(text))) for text in TEXTS]
    sampler = TextSampler(labelled, TextPretrainingConfig(LOOP, batch_tokens=400), model.stack)
    one = sampler(0, np.random.default_rng(0))
    first, last, moved = train(
        model, lambda: text_pretraining_loss(model, network, toy_checkpoint.tokenizer, one)
    )
    assert last < first
    assert "embedding" in moved
    assert any(name.startswith("llm.") for name in moved)


def test_hints_stand_in_the_prompts_of_text_pretraining(network: Nim4, toy_checkpoint: Checkpoint) -> None:
    model = PhonemeSpeech(network)
    labelled = [(text, TABLE.encode(pronounce(text))) for text in TEXTS]
    config = TextPretrainingConfig(LOOP, batch_tokens=400, hints=HintSampling(share=1.0, foreign=0.0))
    one = TextSampler(labelled, config, model.stack)(0, np.random.default_rng(0))
    assert one.hints is not None and any(one.hints)
    with_hints = text_pretraining_loss(model, network, toy_checkpoint.tokenizer, one)["loss"]
    without = text_pretraining_loss(model, network, toy_checkpoint.tokenizer, replace(one, hints=None))[
        "loss"
    ]
    assert with_hints.item() != without.item()


def test_longer_texts_are_left_out() -> None:
    labelled = [("a", [1, 2]), ("b", [1] * 30)]
    config = TextPretrainingConfig(LOOP, batch_tokens=400, longest=10)
    texts = {
        t for step in range(4) for t in TextSampler(labelled, config, 4)(step, np.random.default_rng(0)).texts
    }
    assert texts == {"a"}


def test_simulated_posteriors_hold_the_text() -> None:
    phonemes = TABLE.encode(pronounce("今天天气很好"))
    clean = SimulationConfig(blurred=0, replaced=0, dropped=0, inserted=0)
    indices, weights = simulate(phonemes, 4, clean, np.random.default_rng(0))
    assert indices.shape[1:] == weights.shape[1:] == (4, 2)
    assert [int(i) for i in indices[..., 0].flatten() if i != 0] == phonemes
    np.testing.assert_allclose(weights.sum(-1), 1.0)


def test_embedding_candidates_is_embedding_posteriors(network: Nim4) -> None:
    model = PhonemeSpeech(network)
    indices, weights = simulate([5, 60, 230], 4, SimulationConfig(), np.random.default_rng(1))
    posteriors = torch.zeros(1, indices.shape[0] * 4, len(TABLE))
    flat = torch.from_numpy(indices).reshape(-1, 2), torch.from_numpy(weights).reshape(-1, 2)
    for frame, (index, weight) in enumerate(zip(*flat, strict=True)):
        posteriors[0, frame].index_add_(0, index, weight)
    torch.testing.assert_close(
        model.embed(torch.from_numpy(indices)[None], torch.from_numpy(weights)[None]),
        model.embed_posteriors(posteriors),
    )


def test_tokens_that_sound_alike_start_alike(network: Nim4) -> None:
    tokenizer = train_tokenizer(["他她它天气汽车"] * 3, 40)
    torch.manual_seed(0)
    fresh = Nim4(replace(network.config, llm={**(network.config.llm or {}), "vocab_size": len(tokenizer)}))
    PhonemeSpeech(fresh).start_tokens_by_sound(tokenizer)
    vectors = fresh.llm.get_input_embeddings().weight.detach()
    he, she, steam = (vectors[tokenizer.encode(c)[0]] for c in "他她汽")
    assert torch.cosine_similarity(he, she, dim=0) > 0.25 + torch.cosine_similarity(he, steam, dim=0)


@pytest.mark.parametrize("imitate", [True, False])
def test_alignment_moves_the_adaptor_alone(network: Nim4, toy_checkpoint: Checkpoint, imitate: bool) -> None:
    assert toy_checkpoint.tokenizer is not None
    phonemes = PhonemeSpeech(network) if imitate else None
    freeze_for_alignment(network)

    def loss() -> dict[str, Tensor]:
        return alignment_loss(network, toy_checkpoint.tokenizer, batch(), phonemes)

    first, last, moved = train(network, loss, 30)
    assert last < first
    assert moved == {name for name, _ in network.named_parameters() if name.startswith("adaptor.")}


@pytest.mark.parametrize("joint", [False, True])
def test_sft_moves_what_its_stage_trains(network: Nim4, toy_checkpoint: Checkpoint, joint: bool) -> None:
    assert toy_checkpoint.tokenizer is not None
    freeze_for_sft(network, joint)
    config = SftConfig(LOOP, joint=joint)

    def loss() -> dict[str, Tensor]:
        return sft_loss(network, toy_checkpoint.tokenizer, batch(), config, ChunkScheme(8, 2))

    first, last, moved = train(network, loss)
    assert last < first
    blocks = {name.partition(".")[0] for name in moved}
    assert blocks == ({"encoder", "phoneme_head", "adaptor", "llm"} if joint else {"adaptor", "llm"})


def test_an_empty_transcript_can_be_learnt(network: Nim4, toy_checkpoint: Checkpoint) -> None:
    assert toy_checkpoint.tokenizer is not None
    quiet = SpeechBatch(
        torch.zeros(1, 2, 100, 80),
        torch.tensor([100, 60]),
        torch.zeros(0, dtype=torch.long),
        torch.tensor([0, 0]),
        ("", ""),
        ("a", "b"),
    )
    freeze_for_sft(network, joint=True)
    parts = sft_loss(network, toy_checkpoint.tokenizer, quiet, SftConfig(LOOP, joint=True))
    assert torch.isfinite(parts["loss"])


def test_the_tokenizer_keeps_characters_apart_and_spaces(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["今天天气 the weather", "今天 the wind", "the weather"] * 3, 80)
    for text in ("今天 the weather", "the wind", "天气"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("今天天气")) == 4
    assert len(tokenizer.encode("<|im_start|>user\n")) == 3
    tokenizer.save_pretrained(tmp_path)


def test_normalisation_is_pooled_over_corpora_alike() -> None:
    from nim4asr.training.programme import _pooled

    one = Cmvn(np.zeros(80, np.float32), np.ones(80, np.float32))
    other = Cmvn(np.full(80, 2, np.float32), np.ones(80, np.float32))
    pooled = _pooled([one, other])
    np.testing.assert_allclose(pooled.mean, 1.0)
    np.testing.assert_allclose(pooled.scale, 2**-0.5, rtol=1e-5)
