"""Every stage for a few steps on the toy: the loss falls, and what is frozen does not move."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nim4asr.audio.features import Cmvn, Floats
from nim4asr.data.batches import Source, SpeechBatch
from nim4asr.data.keywords import KeywordSet
from nim4asr.data.store import FeatureStore, Labeled, build_store
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.nim4 import Nim4
from nim4asr.model.shapes import ChunkScheme
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import Objective, mean_loss
from nim4asr.training.loop.optimizer import OptimizerConfig, build_optimizer
from nim4asr.training.model import TrainableModel
from nim4asr.training.phoneme_embedding import PhonemeEmbedding
from nim4asr.training.rollouts.rewards import Reward
from nim4asr.training.speech import SpeechData, TrainingData
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import Stage
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.flat_start import FlatStart
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import ChunkSampling, Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.stages.text_pretraining import (
    SimulationConfig,
    TextBatch,
    TextPretraining,
    TextSampler,
    simulate,
)
from nim4asr.training.tokenizer import train_tokenizer

LOOP = LoopConfig(10, OptimizerConfig(5e-3))
TEXTS = ("今天天气", "how are you")


@pytest.fixture
def model(toy_checkpoint: Checkpoint) -> TrainableModel:
    assert toy_checkpoint.tokenizer is not None
    network = copy.deepcopy(toy_checkpoint.network).requires_grad_(True)
    return TrainableModel(
        network, toy_checkpoint.tokenizer, PhonemeEmbedding(network), KeywordSet(["天气", "甜汽", "today"])
    )


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


def train(
    objective: Objective[Any], one: Any, whole: nn.Module, steps: int = 12
) -> tuple[float, float, set[str]]:
    """The first and the last loss on the batch ``one``, and the parameters of ``whole`` that moved."""
    before = {name: p.detach().clone() for name, p in whole.named_parameters()}
    optimizer = build_optimizer(objective.named_parameters(), LOOP.optimizer)
    history = []
    for step in range(steps):
        torch.manual_seed(0)
        prepared = objective.prepare(one, step, np.random.default_rng(2))
        loss = mean_loss(objective(prepared, np.random.default_rng(1)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(loss.detach()))
    moved = {name for name, p in whole.named_parameters() if not torch.equal(p, before[name])}
    return history[0], history[-1], moved


def blocks(moved: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in moved}


SPEECH = SpeechData(10.0)
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


def test_the_head_s_last_stage_has_the_loss_of_the_first(model: TrainableModel) -> None:
    settings = {"views": 2, "consistency_weight": 0.7, "chunks": ChunkSampling(0.0)}
    last = PhonemeHeadTuning(LOOP, SPEECH, **settings).objective(model)  # type: ignore[arg-type]
    parts = last(batch(2), np.random.default_rng(1))
    first = Pretraining(LOOP, SPEECH, **settings).objective(model)  # type: ignore[arg-type]
    for name, part in first(batch(2), np.random.default_rng(1)).items():
        assert (
            parts[name].total.item() == pytest.approx(part.total.item()) and parts[name].weight == part.weight
        )


def test_pretraining_with_two_views(model: TrainableModel) -> None:
    objective = Pretraining(LOOP, SPEECH).objective(model)
    first, last, moved = train(objective, batch(2), model.network)
    assert last < first
    assert blocks(moved) == {"encoder", "phoneme_head"}


def test_identical_views_have_no_divergence(model: TrainableModel) -> None:
    whole = ChunkSampling(full_context_share=1.0)
    one = batch(1)
    twice = SpeechBatch(
        one.features.repeat(2, 1, 1, 1), one.lengths, one.targets, one.target_lengths, one.texts, one.ids
    )
    parts = Pretraining(LOOP, chunks=whole).objective(model).eval()(twice, np.random.default_rng(0))
    assert float(parts["consistency"].total.detach()) == pytest.approx(0.0, abs=1e-5)
    alone = Pretraining(LOOP, views=1, chunks=whole).objective(model).eval()(one, np.random.default_rng(0))
    assert mean_loss(parts).item() == pytest.approx(mean_loss(alone).item(), rel=1e-4)


def test_chunks_are_drawn_as_specified() -> None:
    random = np.random.default_rng(0)
    drawn = [ChunkSampling().draw(random) for _ in range(2000)]
    assert sum(one is None for one in drawn) == pytest.approx(1000, rel=0.1)
    sizes = {one.size for one in drawn if one is not None}
    assert sizes == set(range(4, 26))
    assert any(one == ChunkScheme(16, 4) for one in drawn)


def text_sampler(model: TrainableModel, **changes: Any) -> TextSampler:
    assert model.phoneme_embedding is not None
    labeled = [(text, TABLE.encode(pronounce(text))) for text in TEXTS]
    return TextSampler(
        labeled, TextPretraining(LOOP, batch_tokens=400, **changes), model.phoneme_embedding.stack
    )


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
    hints = HintSampling(share=1.0, foreign=0.0, dropped=0.0)
    one = text_sampler(model, hints=hints)(0, np.random.default_rng(0))
    assert one.hints is not None and any(one.hints)
    objective = TextPretraining(LOOP).objective(model)
    random = np.random.default_rng(0)
    with_hints, without = (
        mean_loss(objective(one, random)),
        mean_loss(objective(replace(one, hints=None), random)),
    )
    assert with_hints.item() != without.item()


def test_imitation_needs_an_embedding_of_phonemes(model: TrainableModel) -> None:
    with pytest.raises(InputError, match="no text pre-training"):
        Alignment(LOOP, imitate=True).objective(replace(model, phoneme_embedding=None))


def test_context_sft_needs_keywords(model: TrainableModel) -> None:
    with pytest.raises(InputError, match="needs keywords"):
        ContextSft(LOOP).objective(replace(model, keywords=KeywordSet()))


def test_rl_trains_all_but_the_head_and_knows_where_it_began(model: TrainableModel) -> None:
    stage = Rl(LOOP, SPEECH, samples=4)
    objective = stage.objective(model)
    objective.open()
    one = objective.prepare(batch(), 0, np.random.default_rng(0))
    parts = objective(one, np.random.default_rng(0))
    # Nothing has moved yet: the model is the one it began with.
    assert float(parts["kl"].total.detach()) == pytest.approx(0.0, abs=1e-4)
    assert not any("start" in name for name, _ in objective.named_parameters())
    _, _, moved = train(objective, batch(), model.network, 3)
    assert blocks(moved) == {"encoder", "adaptor", "llm"}
    after = objective(objective.prepare(batch(), 0, np.random.default_rng(0)), np.random.default_rng(0))
    assert float(after["kl"].total.detach()) > 0


def test_rl_learns_what_is_rewarded(model: TrainableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reward for short transcripts, and nothing else, they become short."""
    monkeypatch.setattr(
        "nim4asr.training.stages.rl.reward", lambda _, text, *__: Reward(-len(text) / 20, 0.0, 0.0)
    )
    objective = Rl(LOOP, SPEECH, samples=8, kl_weight=0.0).objective(model)
    objective.open()
    optimizer = build_optimizer(objective.named_parameters(), OptimizerConfig(3e-3))
    rewards = []
    for step in range(25):
        one = objective.prepare(batch(), 0, np.random.default_rng(step))
        parts = objective(one, np.random.default_rng(0))
        optimizer.zero_grad()
        mean_loss(parts).backward()
        optimizer.step()
        rewards.append(float(parts["reward"].total) / float(parts["reward"].count))
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.1


def test_joint_sft_in_turns_has_the_parts_of_both(model: TrainableModel) -> None:
    objective = MixedText(JointSft(LOOP), TextPretraining(LOOP, batch_tokens=400)).objective(model)
    text, said = text_sampler(model)(0, np.random.default_rng(0)), batch()
    kinds: list[tuple[TextBatch | SpeechBatch, set[str]]] = [(text, {"text"}), (said, {"speech", "ctc"})]
    for one, held in kinds:
        parts = objective(one, np.random.default_rng(0))
        assert {name for name, part in parts.items() if float(part.count) > 0} == held
        assert parts.keys() == {"speech", "text", "ctc"} and parts["ctc"].weight == 0.3
    # The text's batch moves the language model; no sound, nothing else.
    mean_loss(objective(text, np.random.default_rng(0))).backward()
    moved = {name for name, p in model.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert blocks(moved) == {"llm"}


def test_text_and_speech_in_turns(model: TrainableModel, tmp_path: Path) -> None:
    stage = MixedText(IaSft(LOOP), TextPretraining(LOOP, batch_tokens=400), text_share=0.4)
    objective = stage.objective(model)
    text, said = text_sampler(model)(0, np.random.default_rng(0)), batch()
    for one, kind in ((text, "text"), (said, "speech")):
        parts = objective(one, np.random.default_rng(0))
        assert {name for name, part in parts.items() if float(part.count) > 0} == {kind}
    cmvn = Cmvn(np.zeros(80, np.float32), np.ones(80, np.float32))
    build_store(tmp_path / "store", [1, 2], _tone, workers=1)
    data = TrainingData([Source(FeatureStore(tmp_path / "store"))], cmvn, texts=TEXTS)
    make = stage.batches(data, model)
    kinds = [isinstance(make(number, np.random.default_rng(0)), TextBatch) for number in range(200)]
    assert np.mean(kinds) == pytest.approx(0.4, abs=0.08)


def _tone(number: int) -> tuple[Labeled, Floats]:
    samples = np.sin(np.arange(16000) * 0.1 * number).astype(np.float32)
    return Labeled(f"u{number}", "你好", "zh", (1, 2)), samples


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


def test_longer_texts_are_left_out() -> None:
    labeled = [("a", [1, 2]), ("b", [1] * 30)]
    config = TextPretraining(LOOP, batch_tokens=400, longest=10)
    texts = {
        t for step in range(4) for t in TextSampler(labeled, config, 4)(step, np.random.default_rng(0)).texts
    }
    assert texts == {"a"}


def test_simulated_posteriors_hold_the_text() -> None:
    phonemes = TABLE.encode(pronounce("今天天气很好"))
    clean = SimulationConfig(blurred=0, replaced=0, dropped=0, inserted=0)
    indices, weights = simulate(phonemes, 4, clean, np.random.default_rng(0))
    assert indices.shape[1:] == weights.shape[1:] == (4, 2)
    assert [int(i) for i in indices[..., 0].flatten() if i != 0] == phonemes
    np.testing.assert_allclose(weights.sum(-1), 1.0)


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


def test_an_empty_transcript_can_be_learnt(model: TrainableModel) -> None:
    quiet = SpeechBatch(
        torch.zeros(1, 2, 100, 80),
        torch.tensor([100, 60]),
        torch.zeros(0, dtype=torch.long),
        torch.tensor([0, 0]),
        ("", ""),
        ("a", "b"),
    )
    for stage in (JointSft(LOOP), IaSft(LOOP), Rl(LOOP, samples=2)):
        objective = stage.objective(model)
        objective.open()
        assert torch.isfinite(mean_loss(objective(quiet, np.random.default_rng(0))))


def test_the_tokenizer_keeps_characters_apart_and_spaces(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["今天天气 the weather", "今天 the wind", "the weather"] * 3, 80)
    for text in ("今天 the weather", "the wind", "天气"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("今天天气")) == 4
    assert len(tokenizer.encode_special("<|im_start|>user\n")) == 3
    tokenizer.save(tmp_path)
