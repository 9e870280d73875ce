"""Q networks of many ads as one: each layer is a batched matrix product over ads."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Networks(nn.Module):
    """One fully connected network for each of n ads; they share nothing but the shape."""

    def __init__(self, ads: int, sizes: Sequence[int], *, generator: torch.Generator | None = None) -> None:
        """Networks with layers of these sizes, from observation to actions.

        Weights are drawn as He et al. (2015) do for rectified units; biases begin with 0.
        """
        super().__init__()
        if ads < 1 or len(sizes) < 2 or min(sizes) < 1:
            raise ValueError("networks need at least one ad, and sizes of at least an input and an output")
        self.sizes = tuple(sizes)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            spread = math.sqrt(2.0 / inputs)
            self.weights.append(torch.randn(ads, inputs, outputs, generator=generator) * spread)
            self.biases.append(torch.zeros(ads, 1, outputs))
        # Values begin near 0, so that no action is favoured by chance.
        with torch.no_grad():
            self.weights[-1].mul_(0.01)

    def forward(self, observations: Tensor) -> Tensor:
        """Values (ads, batch, actions) of observations (ads, batch, inputs)."""
        hidden = observations
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < len(self.weights) - 1:
                hidden = torch.relu(hidden)
        return hidden
