import copy

import pytest
import torch

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.nim4 import Nim4, Prompt
from nim4asr.recognition.search import TextSearch, run
from nim4asr.runtime.torch_network import TorchCache, TorchNetwork
from nim4asr.training.rollouts.sampling import Draw, sample, token_log_probs
from nim4asr.training.stages.rl import advantages_of


@pytest.fixture
def network(toy_checkpoint: Checkpoint) -> Nim4:
    return copy.deepcopy(toy_checkpoint.network)


def prompts(network: Nim4, tokenizer: object) -> Prompt:
    torch.manual_seed(1)
    speech = torch.randn(2, 5, network.llm.config.hidden_size)
    return network.embed_prompts(tokenizer, speech, torch.tensor([5, 3]), [(), ("天气",)])  # type: ignore[arg-type]


def test_cold_samples_are_what_greedy_search_writes(network: Nim4, toy_checkpoint: Checkpoint) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    prompt = prompts(network, tokenizer)
    # Sharp weights, so that the best token is never close to another.
    network.llm.get_input_embeddings().weight.data.mul_(20)
    prompt = prompts(network, tokenizer)
    guards = DecodingConfig(max_repeats=1000)
    written = sample(network, tokenizer, prompt, [0.5, 0.5], Draw(3, 1e-3, 0, guards))
    assert written[0] == written[1] == written[2] and written[3] == written[4] == written[5]
    cache = TorchCache(network.llm)
    slots = [cache.allocate(), cache.allocate()]
    searches = [TextSearch(cache, tokenizer, guards, slot, guards.max_new_tokens(0.5)) for slot in slots]
    run(TorchNetwork(network), cache, prompt.rows(), slots, searches)
    assert [written[0], written[3]] == [search.best.tokens for search in searches]


def test_samples_differ_repeat_by_seed_and_keep_their_budget(
    network: Nim4, toy_checkpoint: Checkpoint
) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    prompt = prompts(network, tokenizer)
    guards = DecodingConfig()
    one, again, other = (
        sample(network, tokenizer, prompt, [0.5, 1.0], Draw(4, 1.0, seed, guards)) for seed in (1, 1, 2)
    )
    assert one == again != other
    assert len({tuple(tokens) for tokens in one}) > 1
    assert max(map(len, one[:4])) <= guards.max_new_tokens(0.5)
    assert max(map(len, one[4:])) <= guards.max_new_tokens(1.0)


def test_log_probs_are_those_of_the_tokens_in_their_place(network: Nim4, toy_checkpoint: Checkpoint) -> None:
    """Scored in one padded batch, and a token at a time alone."""
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    prompt = prompts(network, tokenizer)
    written = [[5, 9, 7], [4], [8, 8], [6, 5, 4, 3]]
    with torch.no_grad():
        scored, counts = token_log_probs(network.llm, prompt, written)
    embed = network.llm.get_input_embeddings()
    for row, tokens in enumerate(written):
        place = row // 2
        before = prompt.embeddings[place][prompt.attention_mask[place].bool()]
        for index, token in enumerate(tokens):
            inputs = torch.cat([before, embed(torch.tensor(tokens[:index], dtype=torch.long))])[None]
            with torch.no_grad():
                logits = network.llm(inputs_embeds=inputs).logits[0, -1]
            assert scored[row, index].item() == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-4)
        assert counts[row].sum() == len(tokens)


def test_advantages_compare_within_a_group() -> None:
    advantages, spread = advantages_of([1.0, 0.0, 0.5, 0.5, 0.7, 0.7, 0.7, 0.7], 4)
    assert spread.tolist() == [True, False]
    assert advantages[:4].sum().item() == pytest.approx(0.0, abs=1e-5)
    assert advantages[0] > advantages[2] > advantages[1]
    assert advantages[4:].tolist() == [0.0] * 4
