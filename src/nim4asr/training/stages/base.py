"""What a stage of training is.

A stage is a frozen dataclass, its configuration. Most stages are a ``SingleStage``: one objective, which also
says what is trained, over one kind of batches. The loop (``nim4asr.training.loop.loop``) knows nothing else
of them. Asynchronous IA-SFT is a ``Stage`` of several.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from numpy.random import Generator

from nim4asr.errors import InputError
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import Objective
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import TrainingData
from nim4asr.training.trainer import Trainer

# What can be run as a job of its own in an asynchronous stage.
Worker = Literal["pretraining", "ia-sft"]


@dataclass(frozen=True)
class RoundSteps:
    """The steps of a loop that goes in rounds: of a round on a snapshot, and of the final round."""

    round: int
    final: int


class StageRunner(Protocol):
    """Runs a stage of a recipe, under its name there."""

    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        ...

    def run(self, worker: Worker | None) -> None:
        """Train to the end, or only what ``worker`` does. Raises ``InputError`` if there is no such
        worker.
        """
        ...

    def load_latest_state(self) -> None:
        """Give the model the weights that the stage has reached."""
        ...


class Stage(ABC):
    """An entry of a recipe's ``stages``."""

    @property
    def needs_phoneme_embedding(self) -> bool:
        """Whether the stage reads the phoneme embedding of text pre-training."""
        return False

    @abstractmethod
    def planned_steps(self, name: str) -> Mapping[str, int | RoundSteps]:
        """The optimizer steps of each loop of the stage ``name``, by the folder of its states."""

    @abstractmethod
    def runner(self, trainer: Trainer, name: str) -> StageRunner:
        """What runs the stage ``name``. Raises ``InputError`` if it cannot run as the trainer is launched."""


class SingleStage(Stage):
    """A stage with one loop."""

    if TYPE_CHECKING:
        # Not at run time, where the dataclasses would take the property for the default of their field.
        @property
        def loop(self) -> LoopConfig:
            """How long the stage runs."""
            ...

    @property
    def shardable(self) -> bool:
        """Whether the objective can be computed by a process that holds a part of the weights."""
        return True

    @abstractmethod
    def objective(self, model: TrainableModel) -> Objective[Any]:
        """The objective over ``model``, of which only what the stage trains is left trainable."""

    @abstractmethod
    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], Any]:
        """``make_batch(number, random)``: any batch, in an order that its number fixes."""

    def planned_steps(self, name: str) -> Mapping[str, int | RoundSteps]:
        """The steps of the loop."""
        return {name: self.loop.steps}

    def runner(self, trainer: Trainer, name: str) -> StageRunner:
        """One loop in the folder ``name``."""
        return _SingleRunner(trainer, name, self)


@dataclass(frozen=True)
class _SingleRunner:
    trainer: Trainer
    name: str
    stage: SingleStage

    def is_done(self) -> bool:
        return self.trainer.is_done(self.name, self.stage)

    def run(self, worker: Worker | None) -> None:
        if worker is not None:
            raise InputError(f"the stage {self.name!r} has no workers; it runs as one")
        self.trainer.train(self.name, self.stage)

    def load_latest_state(self) -> None:
        self.trainer.load_latest_state(self.name, self.stage)
