from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from nim4asr.cli.main import main
from nim4asr.errors import InputError
from nim4asr.model.assembly import assemble
from nim4asr.model.checkpoint import Checkpoint, load
from nim4asr.recognition.offline import Recognizer
from nim4asr.runtime.torch_network import torch_model


@pytest.fixture
def gpt2(tmp_path: Path, toy_checkpoint: Checkpoint) -> Path:
    """Another architecture than Qwen3, of another width."""
    assert toy_checkpoint.tokenizer is not None
    torch.manual_seed(0)
    size = len(toy_checkpoint.tokenizer)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=size, n_embd=24, n_layer=1, n_head=2, n_positions=300))
    model.save_pretrained(tmp_path / "gpt2")
    toy_checkpoint.tokenizer.save(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_any_causal_language_model_will_do(
    gpt2: Path, toy_checkpoint: Checkpoint, tmp_path: Path, speech: object, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = tmp_path / "shape"
    toy.mkdir()
    (toy / "config.json").write_text(toy_checkpoint.config.to_json())
    assert main(["new", str(toy), "--llm", str(gpt2), "-o", str(tmp_path / "new")]) == 0
    assert "M parameters" in capsys.readouterr().out
    checkpoint = load(tmp_path / "new")
    genuine = GPT2LMHeadModel.from_pretrained(gpt2)
    ids = torch.arange(9)[None]
    torch.testing.assert_close(checkpoint.network.llm(ids).logits, genuine(ids).logits)
    assert checkpoint.config.adaptor is not None
    assert checkpoint.config.adaptor.llm_dim == 24
    assert isinstance(Recognizer(torch_model(checkpoint)).transcribe(speech, sample_rate=16_000).text, str)


def test_no_language_model(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no causal language model"):
        assemble(toy_checkpoint.config, tmp_path)
    with pytest.raises(InputError, match="no adaptor"):
        assemble(replace(toy_checkpoint.config, adaptor=None), tmp_path)


def test_a_language_model_without_chat_turns_is_named(gpt2: Path, toy_checkpoint: Checkpoint) -> None:
    """By its own name, whatever folder its tokenizer went through."""
    for path in gpt2.glob("tokenizer*.json"):
        path.write_text(path.read_text(encoding="utf-8").replace("<|im_end|>", "<|other|>"), encoding="utf-8")
    with pytest.raises(InputError, match=r"has no token <\|im_end\|>") as raised:
        assemble(toy_checkpoint.config, gpt2)
    assert str(raised.value).startswith(f"{gpt2}: ")


def test_a_recipe_without_its_own_language_model_asks_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "nano", "-o", str(tmp_path / "x")]) == 1
    assert "--llm" in capsys.readouterr().err
