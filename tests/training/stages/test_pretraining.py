"""CR-CTC against its equation, in a few independent lines of numpy in double precision."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from nim4asr.data.batches import SpeechBatch
from nim4asr.model.shapes import ChunkScheme
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.pretraining import ChunkSampling, CrCtc, Pretraining
from training.toys import LOOP, SPEECH, batch, blocks, train

PHONEMES = 4
LENGTHS = (5, 3)
TARGETS = ((1, 2), (3,))
Doubles = NDArray[np.float64]


class Frames(nn.Module):
    """An encoder whose frames are its features, a frame for a frame."""

    def forward(self, features: torch.Tensor, lengths: torch.Tensor, chunks: Any = None) -> Any:
        return features, lengths


class Head(nn.Module):
    """A phoneme head whose frames are its logits."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.log_softmax(dim=-1)


def ctc_of(log_probs: Doubles, target: tuple[int, ...]) -> float:
    """-log of the sum over all paths (T,) that say ``target``."""
    total = 0.0
    for path in itertools.product(range(PHONEMES), repeat=len(log_probs)):
        said = [one for one, _ in itertools.groupby(path) if one]
        if said == list(target):
            total += float(np.exp(sum(log_probs[t, one] for t, one in enumerate(path))))
    return -np.log(total)


@pytest.mark.parametrize("weight", [0.2, 1.5])
def test_cr_ctc_is_its_equation(weight: float) -> None:
    logits = np.random.default_rng(0).standard_normal((2, 2, 5, PHONEMES)) * 2
    features = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    stage = Pretraining(LoopConfig(1, OptimizerConfig(1e-3)), views=2, consistency_weight=weight)
    objective = CrCtc(Frames(), Head(), stage)  # type: ignore[arg-type]
    batch = SpeechBatch(
        features,
        torch.tensor(LENGTHS),
        torch.tensor([one for target in TARGETS for one in target]),
        torch.tensor([len(target) for target in TARGETS]),
        ("", ""),
        ("a", "b"),
        100,
    )
    parts = objective(batch, np.random.default_rng(0))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    a, b = log_probs
    ctc = sum(
        ctc_of(view[row, :length], target)
        for view in (a, b)
        for row, (length, target) in enumerate(zip(LENGTHS, TARGETS, strict=True))
    )
    kl = divergence(b, a) + divergence(a, b)
    phonemes = sum(map(len, TARGETS))
    assert parts["ctc"].total.item() / float(parts["ctc"].count) == pytest.approx(
        ctc / 2 / phonemes, rel=1e-4
    )
    consistency = parts["consistency"]
    assert consistency.weight == weight and float(consistency.count) == phonemes
    assert consistency.total.item() == pytest.approx(kl / 2, rel=1e-4)
    # Each side's target stands still: the gradient of KL(sg(q) || p) is p - q, frame by frame, and nothing
    # flows to q.
    consistency.total.backward()  # type: ignore[no-untyped-call]
    pulled = (np.exp(a) - np.exp(b)) / 2
    for row, length in enumerate(LENGTHS):
        pulled[row, length:] = 0.0
    assert features.grad is not None
    np.testing.assert_allclose(features.grad[0].numpy(), pulled, atol=1e-5)
    np.testing.assert_allclose(features.grad[1].numpy(), -pulled, atol=1e-5)


def divergence(target: Doubles, other: Doubles) -> float:
    """Sum over the frames that count of KL(target || other)."""
    per_frame = (np.exp(target) * (target - other)).sum(-1)
    return float(sum(per_frame[row, :length].sum() for row, length in enumerate(LENGTHS)))


def test_in_dual_mode_one_view_sees_everything_and_the_other_chunks() -> None:
    seen: list[tuple[float, ChunkScheme | None]] = []

    class Watched(Frames):
        def forward(self, features: torch.Tensor, lengths: torch.Tensor, chunks: Any = None) -> Any:
            seen.append((float(features[0, 0, 0]), chunks))
            return features, lengths

    logits = np.random.default_rng(0).standard_normal((2, 2, 5, PHONEMES)) * 2
    features = torch.tensor(logits, dtype=torch.float32)
    lengths, targets = torch.tensor(LENGTHS), torch.tensor([1, 2, 3])
    batch = SpeechBatch(features, lengths, targets, torch.tensor([2, 1]), ("", ""), ("a", "b"), 100)
    loop = LoopConfig(1, OptimizerConfig(1e-3))
    chunks = ChunkSampling(frames=(7, 7), left=(3, 3))
    dual = CrCtc(Watched(), Head(), Pretraining(loop, chunks=chunks, dual_mode=True))  # type: ignore[arg-type]
    parts = dual(batch, np.random.default_rng(0))
    first, second = float(features[0, 0, 0, 0]), float(features[1, 0, 0, 0])
    assert seen == [(first, None), (second, ChunkScheme(7, 3))]
    # Where chunks change nothing, it is the loss of two views alike.
    alike = CrCtc(Frames(), Head(), Pretraining(loop))(batch, np.random.default_rng(0))  # type: ignore[arg-type]
    for name in ("ctc", "consistency"):
        assert parts[name].total.item() == pytest.approx(alike[name].total.item(), rel=1e-6)
        assert parts[name].count == alike[name].count and parts[name].weight == alike[name].weight
    with pytest.raises(ValueError, match="two views"):
        Pretraining(loop, views=1, dual_mode=True)


def test_chunks_are_drawn_over_their_whole_ranges() -> None:
    random = np.random.default_rng(0)
    drawn = [ChunkSampling().draw(random) for _ in range(3000)]
    assert 0.45 < sum(one is None for one in drawn) / len(drawn) < 0.55
    chunks = [one for one in drawn if one is not None]
    assert {one.size for one in chunks} == set(range(4, 26))
    assert {one.left for one in chunks} == set(range(1, 9))
    # Drawn apart: any size with any number of chunks before it.
    assert abs(np.corrcoef([(one.size, one.left) for one in chunks], rowvar=False)[0, 1]) < 0.1


def test_pretraining_with_two_views(model: TrainableModel) -> None:
    objective = Pretraining(LOOP, SPEECH).objective(model)
    first, last, moved = train(objective, batch(2), model.network)
    assert last < first
    assert blocks(moved) == {"encoder", "phoneme_head"}


def test_identical_views_have_no_divergence(model: TrainableModel) -> None:
    whole = ChunkSampling(full_context_share=1.0)
    one = batch(1)
    twice = SpeechBatch(
        one.features.repeat(2, 1, 1, 1), one.lengths, one.targets, one.target_lengths, one.texts, one.ids, 100
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


@pytest.mark.parametrize(
    ("stage", "chunks"),
    [
        (Pretraining(LOOP, SPEECH), ChunkScheme(16, 4)),
        (Pretraining(LOOP, SPEECH, dual_mode=True, chunks=ChunkSampling(1.0)), ChunkScheme(16, 4)),
        # Whole utterances alone teach no chunks.
        (Pretraining(LOOP, SPEECH, chunks=ChunkSampling(1.0)), None),
    ],
)
def test_an_encoder_that_was_trained_in_chunks_streams_from_then_on(
    model: TrainableModel, stage: Pretraining, chunks: ChunkScheme | None
) -> None:
    network, config = model.network, model.network.config
    network.config = replace(config, chunks=None)
    stage.finish(model)
    assert network.config == replace(config, chunks=chunks)
    # Chunks of its own stay.
    network.config = replace(config, chunks=ChunkScheme(8, 2))
    stage.finish(model)
    assert network.config.chunks == ChunkScheme(8, 2)


class Scaled(nn.Module):
    """An encoder of one weight, which hears half as much in chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, features: torch.Tensor, lengths: torch.Tensor, chunks: Any = None) -> Any:
        return features * self.weight * (1.0 if chunks is None else 0.5), lengths


def test_frames_are_drawn_to_what_the_encoder_was() -> None:
    logits = np.random.default_rng(0).standard_normal((2, 2, 5, PHONEMES)) * 2
    lengths, targets = torch.tensor(LENGTHS), torch.tensor([1, 2, 3])
    batch = SpeechBatch(
        torch.tensor(logits, dtype=torch.float32),
        lengths,
        targets,
        torch.tensor([2, 1]),
        ("", ""),
        ("a", "b"),
        100,
    )
    stage = Pretraining(
        LoopConfig(1, OptimizerConfig(1e-3)), dual_mode=True, distillation=20.0, ctc_share=0.0
    )
    encoder = Scaled()
    objective = CrCtc(encoder, Head(), stage)  # type: ignore[arg-type]
    with torch.no_grad():
        encoder.weight.fill_(1.5)
    terms = objective(batch, np.random.default_rng(0))
    found = terms["distillation"]
    # By the first view, whole, 1.5 - 1; by the second, in chunks, 0.75 - 1. Padding does not count.
    sizes = [sum(float((view[row, :n] ** 2).sum()) for row, n in enumerate(LENGTHS)) for view in logits]
    expected = (0.5**2 * sizes[0] + 0.25**2 * sizes[1]) / sum(sizes)
    assert found.weight == 20.0 and float(found.count) == 1.0
    assert found.total.item() == pytest.approx(expected, rel=1e-5)
    # No other term moves the encoder, and no state holds the teacher.
    gradients = [
        torch.autograd.grad(terms[name].total, encoder.weight, retain_graph=True, allow_unused=True)[0]
        for name in ("ctc", "consistency", "distillation")
    ]
    assert not gradients[0] and not gradients[1] and gradients[2]
    assert set(objective.state_dict()) == {"encoder.weight"}
    with pytest.raises(ValueError, match="ctc_share"):
        Pretraining(stage.loop, ctc_share=1.5)
