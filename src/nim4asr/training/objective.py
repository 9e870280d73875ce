"""What a stage minimises, in a form that adds up over batches and processes.

A stage's file holds a frozen dataclass, its configuration, with three verbs (``Stage``): what it leaves trainable, what
its batches are, and its ``Objective``. The loop (``nim4asr.training.loop``) knows nothing else of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from numpy.random import Generator
from torch import Tensor, nn

from nim4asr.model.nim4 import Nim4

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from nim4asr.data.keywords import KeywordSet
    from nim4asr.training.loop import LoopConfig
    from nim4asr.training.speech import TrainingData
    from nim4asr.training.text_pretraining import PhonemeSpeech

Batch = TypeVar("Batch")


@dataclass(frozen=True, eq=False)
class Part:
    """A term of a loss: a sum over a batch, and how many things (phonemes, tokens, samples) it sums over.

    The loss is the sum over its parts of ``weight * total / count``, where totals and counts are those of all
    processes, so that it does not depend on how a joint batch was cut. A part of weight 0 is only logged.
    """

    total: Tensor
    count: Tensor | float
    weight: float = 1.0


Losses = Mapping[str, Part]


def mean_loss(losses: Losses) -> Tensor:
    """The loss of one process alone."""
    terms = [
        part.weight * part.total / max(float(part.count), 1.0) for part in losses.values() if part.weight
    ]
    return sum(terms[1:], start=terms[0])


class Objective(nn.Module, Generic[Batch]):
    """A loss with everything it needs; the parameters in it that require gradients are what is trained."""

    def forward(self, batch: Batch, random: Generator) -> Losses:
        """The loss of a batch; ``random`` is the batch's own."""
        raise NotImplementedError

    def prepare(self, batch: Batch, number: int, random: Generator) -> Batch:
        """What must be done with today's weights before ``forward``, without gradients; ``number`` is the batch's."""
        return batch


@dataclass(frozen=True, eq=False)
class Learner:
    """What is trained, one object through all stages.

    ``phonemes`` is E of text pre-training, where there is one; ``keywords`` are those of the transcripts.
    """

    network: Nim4
    tokenizer: "PreTrainedTokenizerBase"
    phonemes: "PhonemeSpeech | None" = None
    keywords: "KeywordSet | None" = None


@runtime_checkable
class Stage(Protocol):
    """A stage of a programme."""

    @property
    def loop(self) -> "LoopConfig": ...

    def objective(self, learner: Learner) -> Objective[Any]:
        """The stage's objective over ``learner``, which it leaves trainable where it trains it, and frozen
        elsewhere.
        """
        ...

    def batches(self, data: "TrainingData", learner: Learner) -> Callable[[int, Generator], Any]:
        """``make_batch(number, random)``: any batch, in an order that its number fixes."""
        ...


def freeze_all_but(network: Nim4, *trained: str) -> None:
    """Leave the blocks named in ``trained`` trainable, and nothing else of ``network``."""
    network.requires_grad_(False)
    for name in trained:
        block = getattr(network, name)
        assert block is not None, name
        block.requires_grad_(True)
