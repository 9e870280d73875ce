"""Roll-outs: K transcripts sampled for each prompt, on one prefix.

The prompts pass the language model once; the samples grow in forks of their keys and values, a token at a
time, all in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.nim4 import Nim4, Prompt
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.recognition.search import Samples, run
from nim4asr.runtime.torch_network import TorchCache, TorchNetwork


@dataclass(frozen=True)
class Draw:
    """How transcripts are drawn: so many ``samples`` of each prompt, within the guards' budget."""

    samples: int
    temperature: float
    seed: int
    guards: DecodingConfig = field(default_factory=DecodingConfig)


def sample(
    network: Nim4, tokenizer: Tokenizer, prompt: Prompt, seconds: Sequence[float], draw: Draw
) -> list[list[int]]:
    """Token ids of the transcripts of each prompt, one prompt's after the other's; ends of turn included.

    A transcript that reaches the budget for its ``seconds`` of audio is cut there, without an end.
    """
    cache = TorchCache(network.llm)
    random = np.random.default_rng(draw.seed)
    slots = [cache.allocate() for _ in seconds]
    searches = [
        Samples(
            cache,
            slot,
            tokenizer.end,
            draw.guards.max_new_tokens(length),
            draw.samples,
            draw.temperature,
            random,
        )
        for slot, length in zip(slots, seconds, strict=True)
    ]
    run(TorchNetwork(network), cache, prompt.rows(), slots, searches)
    return [tokens for search in searches for tokens in search.written]


def token_log_probs(llm: Any, prompt: Prompt, written: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Log p(token | prompt, tokens before) of ``written`` transcripts, as many for each prompt: (rows, N) and
    which of them count (rows, N).
    """
    samples = len(written) // len(prompt.embeddings)
    longest = max(map(len, written))
    device = prompt.embeddings.device
    tokens = torch.zeros(len(written), longest, dtype=torch.long)
    counts = torch.zeros(len(written), longest, dtype=torch.bool)
    for row, drawn in enumerate(written):
        tokens[row, : len(drawn)] = torch.tensor(drawn)
        counts[row, : len(drawn)] = True
    tokens, counts = tokens.to(device), counts.to(device)
    before = prompt.embeddings.repeat_interleave(samples, dim=0)
    mask = torch.cat([prompt.attention_mask.repeat_interleave(samples, dim=0), counts[:, :-1].long()], dim=1)
    after = llm.get_input_embeddings()(tokens[:, :-1]).to(before.dtype)
    output = llm(
        inputs_embeds=torch.cat([before, after], dim=1),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        logits_to_keep=longest,
        use_cache=False,
    )
    log_probs = output.logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    return log_probs * counts, counts
