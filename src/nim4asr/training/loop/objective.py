"""What a stage minimises, in a form that adds up over batches and processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from numpy.random import Generator
from torch import Tensor, nn

from nim4asr.model.nim4 import Nim4

Batch = TypeVar("Batch")


@dataclass(frozen=True, eq=False)
class LossTerm:
    """A term of a loss: a sum over a batch, and how many things (phonemes, tokens, samples) it sums over.

    The loss is the sum over its parts of ``weight * total / count``, where totals and counts are those of all
    processes, so that it does not depend on how a joint batch was cut. A part of weight 0 is only logged.
    """

    total: Tensor
    count: Tensor | float
    weight: float = 1.0


LossTerms = Mapping[str, LossTerm]


def mean_loss(losses: LossTerms) -> Tensor:
    """The loss of one process alone."""
    terms = [
        part.weight * part.total / max(float(part.count), 1.0) for part in losses.values() if part.weight
    ]
    return sum(terms[1:], start=terms[0])


class Objective(nn.Module, Generic[Batch]):
    """A loss with everything it needs; the parameters in it that require gradients are what is trained."""

    def forward(self, batch: Batch, random: Generator) -> LossTerms:
        """The loss of a batch; ``random`` is the batch's own."""
        raise NotImplementedError

    def prepare(self, batch: Batch, turn: int, random: Generator) -> Batch:
        """What must be done with today's weights before ``forward``, without gradients.

        ``turn`` counts the batches that this process has had, which are as many on every process.
        """
        return batch

    def train(self, mode: bool = True) -> "Objective[Batch]":
        """Train what is trained; what is frozen stays as it is in recognition, without dropout."""
        super().train(mode)
        for module in self.modules():
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()
        return self

    def open(self) -> None:
        """Get ready for a run; the weights are those that the stage began with, whatever state is restored
        after.
        """

    def close(self) -> None:
        """Let go of what a run has opened; called at its end, however it ends."""


def freeze_all_but(network: Nim4, *trained: str) -> None:
    """Leave the blocks named in ``trained`` trainable, and nothing else of ``network``."""
    network.requires_grad_(False)
    for name in trained:
        block = getattr(network, name)
        assert block is not None, name
        block.requires_grad_(True)
