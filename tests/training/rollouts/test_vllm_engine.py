"""vLLM's end is played by a few lines of Python; with vLLM's own, the test at the end runs, too."""

import copy
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nim4asr.data.keywords import KeywordSet
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load
from nim4asr.model.folder import bundled
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.model import TrainableModel
from nim4asr.training.rollouts.sampling import Draw, token_log_probs
from nim4asr.training.rollouts.vllm_engine import VllmConfig, VllmEngine
from nim4asr.training.stages.rl import Rl
from training.rollouts.test_sampling import prompts
from training.toys import batch, blocks, train

WORKER = """
import json, sys
from pathlib import Path
from safetensors.torch import load_file
loads = 0
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "load":
        loads += 1
        assert (Path(asked["model"]) / "model.safetensors").exists()
        print(json.dumps({"ready": True}), flush=True)
        continue
    if asked["samples"] == 13:
        print(json.dumps({"error": "ValueError: 13 is too many"}), flush=True)
        continue
    if asked["samples"] == 14:
        print("out of memory", file=sys.stderr)
        sys.exit(1)
    rows = load_file(asked["prompts"])
    # Token 4 as often as the prompt is long, within the budget, and once more for each load.
    tokens = [[4] * min(len(rows[str(i)]) + loads, budget) for i, budget in enumerate(asked["budgets"])]
    written = [one[: len(one) - k] + [asked["end"]] for one in tokens for k in range(asked["samples"])]
    log_probs = [[-1.0] * len(one) for one in written]
    print(json.dumps({"written": written, "log_probs": log_probs}), flush=True)
"""


@pytest.fixture
def config(tmp_path: Path) -> VllmConfig:
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)
    return VllmConfig(sys.executable, refresh_every=2, worker=worker)


def test_prompts_and_weights_go_there_and_tokens_come_back(
    toy_checkpoint: Checkpoint, config: VllmConfig
) -> None:
    network, tokenizer = toy_checkpoint.network, toy_checkpoint.tokenizer
    assert tokenizer is not None
    prompt = prompts(network, tokenizer)
    engine = VllmEngine(config)
    engine.refresh(network.llm)
    sampled = engine.sample(tokenizer, prompt, [10.0, 0.01], Draw(2, 1.0, 0))
    lengths = prompt.attention_mask.sum(dim=1).tolist()
    assert [len(one) for one in sampled.written] == [lengths[0] + 2, lengths[0] + 1, 6, 5]
    assert all(one[-1] == tokenizer.end for one in sampled.written)
    engine.refresh(network.llm)
    assert len(engine.sample(tokenizer, prompt, [10.0, 0.01], Draw(2, 1.0, 0)).written[0]) == lengths[0] + 3
    with pytest.raises(InputError, match="could not sample: ValueError: 13 is too many"):
        engine.sample(tokenizer, prompt, [1.0, 1.0], Draw(13, 1.0, 0))
    with pytest.raises(InputError, match="it said last: out of memory"):
        engine.sample(tokenizer, prompt, [1.0, 1.0], Draw(14, 1.0, 0))
    engine.close()


def test_no_such_python(config: VllmConfig) -> None:
    with pytest.raises(InputError, match="cannot be run"):
        VllmEngine(VllmConfig("no-such-python", worker=config.worker))
    with pytest.raises(ValueError, match="every batch"):
        VllmConfig("python", refresh_every=0)


def test_rl_learns_from_an_engine_with_older_weights(toy_checkpoint: Checkpoint, config: VllmConfig) -> None:
    assert toy_checkpoint.tokenizer is not None
    network = copy.deepcopy(toy_checkpoint.network).requires_grad_(True)
    model = TrainableModel(network, toy_checkpoint.tokenizer, None, KeywordSet(["天气"]))
    stage = Rl(LoopConfig(10, OptimizerConfig(5e-3)), group_size=3, vllm=config)
    objective = stage.objective(model)
    objective.open()
    one = objective.prepare(batch(), 0, np.random.default_rng(0))
    parts = objective(one, np.random.default_rng(0))
    # The engine's p_old is exp(-1) a token, so the ratio is far from 1, and clipped.
    assert torch.isfinite(mean_loss(parts))
    _, _, moved = train(objective, batch(), network, 3)
    assert blocks(moved) == {"encoder", "adaptor", "llm"}
    objective.close()


@pytest.mark.skipif("NIM4_VLLM_PYTHON" not in os.environ, reason="needs an environment with vLLM")
def test_vllm_scores_tokens_as_the_model_does() -> None:
    # vLLM has no attention for heads as small as the toy's.
    nano = load(bundled())
    network, tokenizer = nano.network, nano.tokenizer
    assert tokenizer is not None
    engine = VllmEngine(
        VllmConfig(os.environ["NIM4_VLLM_PYTHON"], memory_share=0.1, dtype="float32", longest=256)
    )
    for _ in range(2):
        prompt = prompts(network, tokenizer)
        engine.refresh(network.llm)
        sampled = engine.sample(tokenizer, prompt, [0.5, 0.5], Draw(3, 1.0, 1))
        assert len(sampled.written) == 6
        with torch.no_grad():
            scored, counts = token_log_probs(network.llm, prompt, sampled.written)
        for row, log_probs in enumerate(sampled.log_probs):
            np.testing.assert_allclose(scored[row][counts[row]], log_probs, atol=1e-3)
        # Other weights, sent while it runs.
        with torch.no_grad():
            for parameter in network.llm.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
    engine.close()
