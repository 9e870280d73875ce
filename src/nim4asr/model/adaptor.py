"""The speech adaptor: encoder frames to embeddings of the language model."""

import torch
from torch import Tensor, nn

from nim4asr.model.shapes import AdaptorConfig


class Adaptor(nn.Module):
    """Linear(stack * D -> hidden), ReLU, Linear(hidden -> D_llm) over ``stack`` frames put together.

    ``hidden_dim`` is D_llm unless the configuration says otherwise. Parameter names are those of the
    public FireRedASR-LLM checkpoints.
    """

    def __init__(self, config: AdaptorConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_dim or config.llm_dim
        self.linear1 = nn.Linear(config.encoder_dim * config.stack, hidden)
        self.relu = nn.ReLU()
        self.linear2 = nn.Linear(hidden, config.llm_dim)

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T', D) and lengths (B,) to (B, T' // stack, D_llm) and theirs.

        Frames that do not fill a group are dropped.
        """
        stack = self.config.stack
        groups = frames.shape[1] // stack
        stacked = frames[:, : groups * stack].reshape(frames.shape[0], groups, stack * frames.shape[2])
        out = self.linear2(self.relu(self.linear1(stacked)))
        return out, torch.div(lengths, stack, rounding_mode="floor")
