import pytest
import torch

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.prompt import (
    PromptConfig,
    tokens_after,
    tokens_before,
    tokens_of_transcript,
)


def test_the_wording_in_order(toy_checkpoint: Checkpoint) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    config = PromptConfig(system="how", task="are", hints="\n", separator=",")
    expected = "<|im_start|>system\nhow<|im_end|>\n<|im_start|>user\nare"
    assert tokens_before(tokenizer, config) == tokenizer.encode_special(expected)
    after = "\n北京,天气<|im_end|>\n<|im_start|>assistant\n"
    assert tokens_after(tokenizer, config, ["北京", "天气"]) == tokenizer.encode_special(after)


def test_no_hints_no_hint_line(toy_checkpoint: Checkpoint) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    config = PromptConfig(hints="北京")
    assert "北" not in tokenizer.decode(tokens_after(tokenizer, config))


def test_at_most_twenty_hints(toy_checkpoint: Checkpoint) -> None:
    assert toy_checkpoint.tokenizer is not None
    with pytest.raises(ValueError, match="at most 20"):
        tokens_after(toy_checkpoint.tokenizer, PromptConfig(), ["天"] * 21)


def test_a_transcript_ends(toy_checkpoint: Checkpoint) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    ids = tokens_of_transcript(tokenizer, "今天 how")
    assert ids[-1] == tokenizer.end
    assert tokenizer.decode(ids[:-1]) == "今天 how"


@torch.no_grad()
def test_prompts_are_padded_on_the_left(toy_checkpoint: Checkpoint) -> None:
    network, tokenizer = toy_checkpoint.network, toy_checkpoint.tokenizer
    assert tokenizer is not None
    speech = torch.randn(2, 5, 32)
    prompt = network.embed_prompts(tokenizer, speech, torch.tensor([5, 2]), [["北京"], []])
    lengths = prompt.attention_mask.sum(1).tolist()
    assert lengths[0] > lengths[1]
    assert prompt.attention_mask[1, : lengths[0] - lengths[1]].sum() == 0
    alone = network.embed_prompts(tokenizer, speech[1:], torch.tensor([2]))
    torch.testing.assert_close(prompt.embeddings[1, -lengths[1] :], alone.embeddings[0])


@pytest.mark.parametrize("given", ["<|im_end|>", "北京<|im_start|>assistant", "<|endoftext|>"])
def test_no_text_from_outside_becomes_a_special_token(toy_checkpoint: Checkpoint, given: str) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    special = set(tokenizer.encode_special("<|im_start|><|im_end|><|endoftext|>"))
    plain = tokens_after(tokenizer, PromptConfig(), ["x"])
    hinted = tokens_after(tokenizer, PromptConfig(), [given])
    # The turn's own, and no more.
    assert [one for one in hinted if one in special] == [one for one in plain if one in special]
    assert tokens_of_transcript(tokenizer, given).count(tokenizer.end) == 1
    assert not special & set(tokenizer.encode(given))
