import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.training.async_sft.stage import AsyncIaSft
from nim4asr.training.loop.optimizer import is_matrix
from nim4asr.training.lora import LoraConfig, attach, merge
from nim4asr.training.model import TrainableModel
from nim4asr.training.rollouts.vllm_engine import VllmConfig
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import SpeechStage, Stage
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.stages.text_pretraining import TextPretraining
from training.toys import LOOP, SPEECH, batch, train

LORA = LoraConfig(rank=4, alpha=8.0)


def state(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def gpt2() -> Any:
    config = GPT2Config(
        vocab_size=50, n_embd=24, n_layer=1, n_head=2, n_positions=300, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_corrections_are_added_to_the_weights_and_gone(kind: str, toy_checkpoint: Checkpoint) -> None:
    llm = copy.deepcopy(toy_checkpoint.network.llm) if kind == "qwen3" else gpt2()
    before, names = state(llm), set(vars(llm))
    ids = torch.arange(9)[None]
    first = llm(ids).logits
    attach(llm, LORA)
    trained = {name: p for name, p in llm.named_parameters() if p.requires_grad}
    # Nothing is learnt yet, and nothing but the corrections will be.
    assert torch.equal(llm(ids).logits, first) and trained and all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in trained.items():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    corrected = llm(ids).logits
    expected = {}
    for name, parameter in trained.items():
        if "lora_A" in name:
            other = trained[name.replace("lora_A", "lora_B")]
            place = name.replace("lora_A.default.", "")
            product = 8.0 / 4 * other @ parameter
            expected[place] = before[place] + (product.T if kind == "gpt2" else product)
    merge(llm)
    after = llm.state_dict()
    assert set(vars(llm)) == names and after.keys() == before.keys() and len(expected) > 3
    for name, value in before.items():
        torch.testing.assert_close(after[name], expected.get(name, value))
        assert (name in expected) != torch.equal(after[name], value)
    torch.testing.assert_close(llm(ids).logits, corrected, atol=1e-5, rtol=1e-5)


def test_corrections_begin_alike_whenever_and_leave_torch_s_randomness_alone(
    toy_checkpoint: Checkpoint,
) -> None:
    one, other = (copy.deepcopy(toy_checkpoint.network.llm) for _ in range(2))
    torch.manual_seed(1)
    attach(one, LORA)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn)
    attach(other, LORA)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())
    # Attached once more, as by a stage that goes on in rounds, they stay.
    one.requires_grad_(True)
    attach(one, LORA)
    assert one.state_dict().keys() == theirs.keys()
    assert {name for name, p in one.named_parameters() if p.requires_grad} == {
        name for name, p in other.named_parameters() if p.requires_grad
    }


STAGES: list[tuple[Callable[..., SpeechStage], set[str]]] = [
    (IaSft, {"adaptor"}),
    (JointSft, {"encoder", "phoneme_head", "adaptor"}),
    (ContextSft, {"encoder", "phoneme_head", "adaptor"}),
    (Rl, {"encoder", "adaptor"}),
]


@pytest.mark.parametrize(("make", "whole"), STAGES, ids=[make.__name__ for make, _ in STAGES])
def test_a_stage_trains_corrections_and_leaves_an_ordinary_model(
    model: TrainableModel, make: Callable[..., SpeechStage], whole: set[str], tmp_path: Path
) -> None:
    network = model.network
    before = state(network)
    stage = make(LOOP, SPEECH, lora=LORA)
    objective = stage.objective(model)
    objective.open()
    # Two weights of each correction that the loop would save, and none of the matrices beneath them.
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in trained if "lora_" not in name} == whole
    _, _, moved = train(objective, batch(), network, 6)
    assert any("lora_" in name for name in moved) and moved <= trained
    stage.finish(model)
    after = network.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    matrices = [name for name in changed if name.startswith("llm.")]
    assert matrices and all("_proj" in name for name in matrices)
    # Saved and loaded as any model is.
    checkpoint = Checkpoint(network.eval(), _normalization(model), model.tokenizer)
    save(checkpoint, tmp_path / "model")
    again = load(tmp_path / "model").network.state_dict()
    assert all(torch.equal(again[name], value) for name, value in network.state_dict().items())


def _normalization(model: TrainableModel) -> Any:
    from nim4asr.acoustics.normalization import Cmvn

    return Cmvn.neutral(model.network.config.features.bins)


def test_text_in_turns_leaves_an_ordinary_model_too(model: TrainableModel) -> None:
    stage = MixedText(IaSft(LOOP, SPEECH, lora=LORA), TextPretraining(LOOP, batch_tokens=400))
    names = model.network.state_dict().keys()
    stage.objective(model)
    assert model.network.state_dict().keys() != names
    stage.finish(model)
    assert model.network.state_dict().keys() == names


def test_factors_of_matrices_are_no_matrices() -> None:
    name = "network.llm.model.layers.0.self_attn.q_proj"
    assert is_matrix(f"{name}.weight", torch.zeros(32, 32))
    assert not is_matrix(f"{name}.lora_A.default.weight", torch.zeros(32, 32))


def test_what_lora_cannot_be(model: TrainableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="rank of at least 1"):
        LoraConfig(0)
    with pytest.raises(ValueError, match="rank of at least 1"):
        replace(LORA, alpha=0.0)
    with pytest.raises(ValueError, match="vLLM is given whole weights"):
        Rl(LOOP, lora=LORA, vllm=VllmConfig("python"))
    monkeypatch.setitem(sys.modules, "peft", None)
    ia_sft, texts = IaSft(LOOP, SPEECH, lora=LORA), TextPretraining(LOOP, batch_tokens=400)
    whole: Stage = AsyncIaSft(Pretraining(LOOP), Alignment(LOOP), ia_sft, steps_per_snapshot=1)
    assert all(stage.needs_peft for stage in (ia_sft, MixedText(ia_sft, texts), whole))
    assert not IaSft(LOOP, SPEECH).needs_peft
    with pytest.raises(InputError, match=r"pip install 'nim4asr\[lora\]'"):
        ia_sft.objective(model)
