"""The network as a whole: encoder, phoneme head, adaptor, language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nim4asr.errors import InputError
from nim4asr.files import reason
from nim4asr.model.adaptor import Adaptor
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.encoders import Encoder, build_encoder
from nim4asr.model.phoneme_head import PhonemeHead
from nim4asr.model.prompt import tokens_after, tokens_before
from nim4asr.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Prompt:
    """Prompts of a batch, ready for the language model, padded on the left so that all end together.

    ``embeddings`` (B, L, D_llm), ``attention_mask`` (B, L).
    """

    embeddings: Tensor
    attention_mask: Tensor

    def rows(self) -> list[NDArray[np.float32]]:
        """Each prompt (L, D_llm) without its padding."""
        return [
            row[mask.bool()].detach().float().cpu().numpy()
            for row, mask in zip(self.embeddings, self.attention_mask, strict=True)
        ]


class Nim4(nn.Module):
    """The blocks that a configuration names; those it leaves out are None."""

    def __init__(self, config: Nim4Config) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder = build_encoder(config.encoder)
        self.phoneme_head = PhonemeHead(config.phoneme_head) if config.phoneme_head else None
        self.adaptor = Adaptor(config.adaptor) if config.adaptor else None
        self.llm: Any = build_language_model(config.llm) if config.llm is not None else None

    def embed_prompts(
        self,
        tokenizer: Tokenizer,
        speech: Tensor,
        lengths: Tensor,
        hints: Sequence[Sequence[str]] | None = None,
    ) -> Prompt:
        """Prompts around speech embeddings (B, S, D_llm) of which ``lengths`` (B,) count.

        ``hints`` is a list for each of the batch; none means none for any.
        """
        embed = self.llm.get_input_embeddings()

        def embedded(ids: list[int]) -> Tensor:
            out: Tensor = embed(torch.tensor(ids, dtype=torch.long, device=speech.device))
            return out

        before = embedded(tokens_before(tokenizer, self.config.prompt))
        rows = []
        for row, length in enumerate(lengths.tolist()):
            chosen = hints[row] if hints is not None else ()
            after = embedded(tokens_after(tokenizer, self.config.prompt, chosen))
            rows.append(torch.cat([before, speech[row, :length].to(before.dtype), after]))
        longest = max(map(len, rows))
        embeddings = before.new_zeros(len(rows), longest, before.shape[1])
        mask = torch.zeros(len(rows), longest, dtype=torch.long, device=speech.device)
        for place, whole in enumerate(rows):
            embeddings[place, longest - len(whole) :] = whole
            mask[place, longest - len(whole) :] = 1
        return Prompt(embeddings, mask)

    def parameter_counts(self) -> dict[str, int]:
        """Parameters of each block and in total; shared ones count once."""
        counts = {
            name: sum(p.numel() for p in block.parameters()) if block is not None else 0
            for name, block in (
                ("encoder", self.encoder),
                ("adaptor", self.adaptor),
                ("phoneme_head", self.phoneme_head),
                ("llm", self.llm),
            )
        }
        return {**counts, "total": sum(counts.values())}


def build_language_model(config: Any) -> "PreTrainedModel":
    """A Hugging Face causal language model of the given configuration, with fresh weights.

    Raises ``InputError`` if there can be none.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(config)
    model_type = values.pop("model_type")
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **values))
    except Exception as error:  # Every architecture has its own ways to fail at what it cannot be.
        raise InputError(
            f"no language model can be built from this configuration ({reason(error)})"
        ) from None
    return model
