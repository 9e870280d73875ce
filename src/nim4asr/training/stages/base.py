"""What a stage of training is, and what all of them train.

A stage's file holds a frozen dataclass, its configuration, with two verbs: what its batches are, and its
``Objective``, which leaves trainable what the stage trains. The loop (``nim4asr.training.loop.loop``) knows
nothing else of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.random import Generator

from nim4asr.data.keywords import KeywordSet
from nim4asr.model.nim4 import Nim4
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import Objective
from nim4asr.training.stages.phoneme_embedding import PhonemeEmbedding
from nim4asr.training.stages.speech import TrainingData


@dataclass(frozen=True, eq=False)
class TrainableModel:
    """What is trained, one object through all stages.

    ``phonemes`` is E of text pre-training, where there is one; ``keywords`` are those of the transcripts.
    """

    network: Nim4
    tokenizer: Tokenizer
    phonemes: PhonemeEmbedding | None = None
    keywords: KeywordSet | None = None


@runtime_checkable
class Stage(Protocol):
    """A stage of a recipe."""

    @property
    def loop(self) -> LoopConfig: ...

    def objective(self, model: TrainableModel) -> Objective[Any]:
        """The stage's objective over ``model``, which it leaves trainable where it trains it, and frozen
        elsewhere.
        """
        ...

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], Any]:
        """``make_batch(number, random)``: any batch, in an order that its number fixes."""
        ...
