"""A checkpoint ready to run: what recordings and live streams have in common."""

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.prompt import tokens_before
from nim4asr.model.slot_cache import KeyValues, SlotCache

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Inference:
    """A checkpoint that can transcribe. Raises ``InputError`` if it holds an encoder alone."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        network = checkpoint.network
        if network.llm is None or network.adaptor is None or network.phoneme_head is None:
            raise InputError(
                f"the model {checkpoint.config.name!r} holds an encoder without adaptor, phoneme head "
                "and language model; it can be trained further but cannot transcribe"
            )
        self.checkpoint = checkpoint

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        tokenizer = self.checkpoint.tokenizer
        assert tokenizer is not None
        return tokenizer

    @cached_property
    def prompt_cache(self) -> KeyValues:
        """The language model's keys and values of the prompt's static text, which every live stream begins with: a
        prefix cache.
        """
        network = self.checkpoint.network
        embed = network.llm.get_input_embeddings()
        ids = torch.tensor(tokens_before(self.tokenizer, network.config.prompt), device=embed.weight.device)
        cache = SlotCache(network.llm)
        slot = cache.take()
        with torch.no_grad():
            cache.extend([slot], [embed(ids)])
        return cache.copy_out(slot)
