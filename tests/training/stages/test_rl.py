"""GRPO against its equation, in a few independent lines of numpy in double precision."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from nim4asr.data.keywords import KeywordSet
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.runtime.vllm_process import environment_of
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.loop.optimizer import OptimizerConfig, build_optimizer
from nim4asr.training.model import TrainableModel
from nim4asr.training.rollouts.rewards import Reward
from nim4asr.training.rollouts.sampling import token_log_probs
from nim4asr.training.rollouts.vllm_engine import VllmConfig
from nim4asr.training.stages import rl
from nim4asr.training.stages.rl import Grpo, Rl, advantages_of
from training.toys import LOOP, SPEECH, batch, blocks, train

TWICE = LoopConfig(10, OptimizerConfig(5e-3), accumulation_steps=2)


@pytest.fixture
def model(toy_checkpoint: Checkpoint) -> TrainableModel:
    assert toy_checkpoint.tokenizer is not None
    network = copy.deepcopy(toy_checkpoint.network).requires_grad_(True)
    return TrainableModel(network, toy_checkpoint.tokenizer, None, KeywordSet(["天气"]))


def test_advantages_are_divided_by_their_deviation() -> None:
    rewards = [1.0, 0.0, 0.5, 0.5, 2.0, -1.0, 0.0, 0.3]
    advantages, _ = advantages_of(rewards, 4)
    for place in (0, 4):
        group = np.array(rewards[place : place + 4])
        wanted = (group - group.mean()) / (group.std(ddof=1) + 1e-6)
        np.testing.assert_allclose(advantages[place : place + 4].numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("clip", [0.2, 0.05])
def test_grpo_is_its_equation(model: TrainableModel, monkeypatch: pytest.MonkeyPatch, clip: float) -> None:
    stage = Rl(TWICE, group_size=3, clip_range=clip, kl_weight=0.5)
    objective = stage.objective(model)
    objective.open()
    # p_start and p_old are other models than p, so that every term has something to say.
    with torch.no_grad():
        for parameter in model.network.llm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    written = [[5, 9, 7], [4], [8, 8], [6, 5, 4, 3], [7, 7], [9]]
    old = torch.full((6, 4), -3.0)
    scores = iter([0.9, 0.1, 0.4, 0.2, 0.8, -0.3])
    monkeypatch.setattr(objective, "_sample", lambda prompt, seconds: (written, old))
    monkeypatch.setattr(rl, "reward", lambda *_: Reward(next(scores), 0.0, 0.0))
    seen: dict[str, torch.Tensor] = {}
    genuine = token_log_probs

    def kept(llm: object, prompt: object, tokens: Sequence[Sequence[int]]) -> object:
        result = genuine(llm, prompt, tokens)  # type: ignore[arg-type]
        seen["start" if llm is objective._start[0].llm else "now"] = result[0].detach().double()
        return result

    monkeypatch.setattr(rl, "token_log_probs", kept)
    objective.train()
    parts = objective(objective.prepare(batch(), 0, np.random.default_rng(0)), np.random.default_rng(0))
    now, start = seen["now"].numpy(), seen["start"].numpy()
    policy = kl = 0.0
    rewards = np.array([0.9, 0.1, 0.4, 0.2, 0.8, -0.3]).reshape(2, 3)
    advantages = (
        (rewards - rewards.mean(1, keepdims=True)) / (rewards.std(1, ddof=1, keepdims=True) + 1e-6)
    ).ravel()
    clipped = 0
    for row, tokens in enumerate(written):
        own_policy, own_kl = [], []
        for place in range(len(tokens)):
            ratio = np.exp(now[row, place] + 3.0)
            held = min(max(ratio, 1 - clip), 1 + clip)
            clipped += held != ratio
            own_policy.append(-min(ratio * advantages[row], held * advantages[row]))
            other = np.exp(start[row, place] - now[row, place])
            own_kl.append(other - np.log(other) - 1)
        policy += np.mean(own_policy)
        kl += np.mean(own_kl)
    assert clipped > 3
    assert parts["policy"].total.item() == pytest.approx(policy, rel=1e-4)
    assert parts["kl"].total.item() == pytest.approx(kl, rel=1e-3) and parts["kl"].weight == 0.5
    assert float(parts["policy"].count) == float(parts["kl"].count) == 6


def test_the_temperature_falls_over_the_batches_of_one_process() -> None:
    stage = Rl(TWICE, temperature=(1.0, 0.7))
    assert stage.temperature_at(0) == 1.0
    assert stage.temperature_at(10) == pytest.approx(0.85)
    assert stage.temperature_at(20) == pytest.approx(0.7) == stage.temperature_at(99)
    falling = [stage.temperature_at(turn) for turn in range(21)]
    assert falling == sorted(falling, reverse=True)


def test_weights_are_sent_by_a_process_s_own_count(
    model: TrainableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    devices: list[torch.device] = []

    class Engine:
        def __init__(self, config: VllmConfig, device: torch.device) -> None:
            devices.append(device)

        def refresh(self, llm: object) -> None:
            sent.append(turn)

        def close(self) -> None:
            pass

    monkeypatch.setattr(rl, "VllmEngine", Engine)
    objective = Grpo(model, Rl(TWICE, vllm=VllmConfig("python", refresh_every=3)))
    for turn in range(1, 8):
        objective.prepare(batch(), turn, np.random.default_rng(0))
    assert sent == [1, 3, 6] and devices == [torch.device("cpu")]


def test_each_worker_sees_its_process_s_device_alone() -> None:
    two = torch.device("cuda", 2)
    assert environment_of(two, {"A": "b"}) == {"A": "b", "CUDA_VISIBLE_DEVICES": "2"}
    assert environment_of(two, {"CUDA_VISIBLE_DEVICES": "4, 5,7"})["CUDA_VISIBLE_DEVICES"] == "7"
    assert environment_of(torch.device("cpu"), {"A": "b"}) == environment_of(None, {"A": "b"}) == {"A": "b"}


def test_rl_has_no_dropout_anywhere(model: TrainableModel) -> None:
    objective = Rl(TWICE).objective(model).train()
    assert objective.training and not any(one.training for one in objective.network.modules())


def test_rl_trains_all_but_the_head_and_knows_where_it_began(model: TrainableModel) -> None:
    stage = Rl(LOOP, SPEECH, group_size=4)
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
    objective = Rl(LOOP, SPEECH, group_size=8, kl_weight=0.0).objective(model)
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
