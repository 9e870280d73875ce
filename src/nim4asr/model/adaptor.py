"""The speech adaptor: encoder frames to embeddings of the language model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AdaptorConfig:
    """``stack`` encoder frames make one speech token: 4 give 6.25 a second, 160 ms each."""

    encoder_dim: int
    llm_dim: int
    stack: int = 4
    hidden_dim: int | None = None

    def __post_init__(self) -> None:
        if min(self.encoder_dim, self.llm_dim, self.stack, self.hidden_dim or 1) < 1 or self.stack > 100:
            raise ValueError("the adaptor's sizes must be at least 1, and stack at most 100")
        if max(self.encoder_dim, self.llm_dim, self.hidden_dim or 1) > 1_000_000:
            raise ValueError("the adaptor's sizes must be at most 1,000,000")


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
        stacked = frames[:, : groups * stack].reshape(frames.shape[0], groups, -1)
        out = self.linear2(self.relu(self.linear1(stacked)))
        return out, torch.div(lengths, stack, rounding_mode="floor")
