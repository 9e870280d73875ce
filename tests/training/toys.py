"""What the tests of several stages share: a toy batch, a few steps of training, texts."""

from typing import Any

import numpy as np
import torch
from torch import nn

from nim4asr.data.batches import SpeechBatch
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import Objective, mean_loss
from nim4asr.training.loop.optimizer import OptimizerConfig, build_optimizer
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.text_pretraining import (
    TextPretraining,
    TextSampler,
)

SPEECH = SpeechData(10.0)
LOOP = LoopConfig(10, OptimizerConfig(5e-3))
TEXTS = ("今天天气", "how are you")


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
        feature_hz=100,
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


def text_sampler(model: TrainableModel, **changes: Any) -> TextSampler:
    assert model.phoneme_embedding is not None
    labeled = [(text, TABLE.encode(pronounce(text))) for text in TEXTS]
    return TextSampler(
        labeled, TextPretraining(LOOP, batch_tokens=400, **changes), model.phoneme_embedding.stack
    )
