"""Roll-outs: K transcripts sampled for each prompt, on one prefix.

The prompts pass the language model once; their keys and values are then repeated K times, and the samples grow a token
at a time, all in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from nim4asr.model.nim4 import Prompt
from nim4asr.model.prompt import end_token
from nim4asr.recognition.decoding import DecodingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Draw:
    """How transcripts are drawn: so many ``samples`` of each prompt, within the guards' budget."""

    samples: int
    temperature: float
    seed: int
    guards: DecodingConfig = field(default_factory=DecodingConfig)


@torch.no_grad()
def sample(
    llm: Any, tokenizer: "PreTrainedTokenizerBase", prompt: Prompt, seconds: Sequence[float], draw: Draw
) -> list[list[int]]:
    """Token ids of the transcripts of each prompt, one prompt's after the other's; ends of turn included.

    A transcript that reaches the budget for its ``seconds`` of audio is cut there, without an end.
    """
    end = end_token(tokenizer)
    budgets = [draw.guards.budget(one) for one in seconds for _ in range(draw.samples)]
    device = prompt.embeddings.device
    generator = torch.Generator(device).manual_seed(draw.seed)
    mask = prompt.attention_mask
    output = llm(
        inputs_embeds=prompt.embeddings,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        use_cache=True,
        logits_to_keep=1,
    )
    cache = output.past_key_values
    cache.batch_repeat_interleave(draw.samples)
    mask = mask.repeat_interleave(draw.samples, dim=0)
    logits = output.logits[:, -1].repeat_interleave(draw.samples, dim=0)
    written: list[list[int]] = [[] for _ in budgets]
    open_rows = torch.ones(len(budgets), dtype=torch.bool)
    embed = llm.get_input_embeddings()
    while True:
        odds = (logits.float() / draw.temperature).softmax(-1)
        drawn = torch.multinomial(odds, 1, generator=generator)[:, 0]
        for row, token in enumerate(drawn.tolist()):
            if open_rows[row]:
                written[row].append(token)
                open_rows[row] = token != end and len(written[row]) < budgets[row]
        if not bool(open_rows.any()):
            return written
        mask = functional.pad(mask, (0, 1), value=1)
        output = llm(
            inputs_embeds=embed(drawn[:, None]).to(prompt.embeddings.dtype),
            attention_mask=mask,
            position_ids=(mask.sum(dim=1, keepdim=True) - 1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1]


def token_log_probs(llm: Any, prompt: Prompt, written: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Log p(token | prompt, tokens before) of ``written`` transcripts, as many for each prompt: (rows, N) and
    which of them count (rows, N).
    """
    samples = len(written) // len(prompt.embeddings)
    longest = max(map(len, written))
    device = prompt.embeddings.device
    tokens = torch.zeros(len(written), longest, dtype=torch.long)
    counts = torch.zeros(len(written), longest, dtype=torch.bool)
    for row, one in enumerate(written):
        tokens[row, : len(one)] = torch.tensor(one)
        counts[row, : len(one)] = True
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
