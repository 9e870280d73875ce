"""The loss of every stage with a language model: cross entropy of the transcript after its prompt."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nim4asr.model.nim4 import Nim4
from nim4asr.model.prompt import tokens_of_transcript
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.loop.objective import LossTerm


def transcript_loss(
    network: Nim4,
    tokenizer: Tokenizer,
    speech: Tensor,
    lengths: Tensor,
    texts: Sequence[str],
    hints: Sequence[Sequence[str]] | None = None,
) -> LossTerm:
    """-log p(token | prompt, tokens before), summed over the transcripts' tokens, end of turn included.

    ``speech`` (B, S, D_llm) of which ``lengths`` (B,) count. Prompts are padded on the left, so every
    transcript begins at the same place, and only transcript places pass through the output layer.
    """
    prompt = network.embed_prompts(tokenizer, speech, lengths, hints)
    ids = [tokens_of_transcript(tokenizer, text) for text in texts]
    longest = max(map(len, ids))
    targets = torch.full((len(ids), longest), -100, device=speech.device)
    for row, tokens in enumerate(ids):
        targets[row, : len(tokens)] = torch.tensor(tokens)
    embed = network.llm.get_input_embeddings()
    written = embed(targets[:, :-1].clamp(min=0))
    mask = torch.cat([prompt.attention_mask, (targets[:, :-1] != -100).long()], dim=1)
    inputs = torch.cat([prompt.embeddings, written], dim=1)
    output = network.llm(
        inputs_embeds=inputs,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        logits_to_keep=longest,
        use_cache=False,
    )
    loss = functional.cross_entropy(output.logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
    return LossTerm(loss, (targets != -100).sum())
