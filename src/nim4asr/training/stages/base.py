"""What a stage of training is.

A stage is a frozen dataclass, its configuration. Most stages are a ``SingleStage``: one objective, which also
says what is trained, over one kind of batches. The loop (``nim4asr.training.loop.loop``) knows nothing else
of them. Asynchronous IA-SFT is a ``Stage`` of several.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from numpy.random import Generator

from nim4asr.data.frames import build_frames, drop_frames
from nim4asr.errors import InputError
from nim4asr.model.nim4 import Nim4
from nim4asr.progress import ProgressReporter
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import Objective, freeze_all_but
from nim4asr.training.lora import LoraConfig, attach, merge
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData, TrainingData
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

    @property
    def needs_peft(self) -> bool:
        """Whether the stage trains by LoRA."""
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

    def prepare(
        self, data: TrainingData, model: TrainableModel, device: torch.device, progress: ProgressReporter
    ) -> None:
        """Compute what the batches are read from, once, on ``device``; nothing for most stages."""

    def finish(self, model: TrainableModel) -> None:
        """Leave the model, which has the weights of the last step, as the next stage is to find it."""

    def planned_steps(self, name: str) -> Mapping[str, int | RoundSteps]:
        """The steps of the loop."""
        return {name: self.loop.steps}

    def runner(self, trainer: Trainer, name: str) -> StageRunner:
        """One loop in the folder ``name``."""
        return _SingleRunner(trainer, name, self)


@dataclass(frozen=True)
class Work:
    """What a stage on speech runs and trains: what its memory and its time follow from."""

    trained: tuple[str, ...]
    """The blocks of which all weights are trained."""
    views: int = 1
    """The encoder hears every utterance so many times."""
    writes: bool = False
    """Whether transcripts pass through the language model, behind their prompts,"""
    hints: bool = False
    """which hold hints."""
    lora: LoraConfig | None = None
    """Of the language model, corrections are trained alone."""
    samples: int = 0
    """So many transcripts are drawn of each utterance, in the place of its own."""


def trained_with(*blocks: str, lora: LoraConfig | None) -> tuple[str, ...]:
    """``blocks`` and, without ``lora``, all of the language model."""
    return blocks if lora is not None else (*blocks, "llm")


def leave_trainable(network: Nim4, work: Work) -> None:
    """Leave trainable what ``work`` trains, and nothing else. Raises ``InputError`` if LoRA cannot be had."""
    freeze_all_but(network, *work.trained)
    if work.lora is not None:
        attach(network.llm, work.lora)


class SpeechStage(SingleStage):
    """A stage whose batches are speech: ``data`` says which."""

    if TYPE_CHECKING:

        @property
        def data(self) -> SpeechData:
            """Which speech it is trained on."""
            ...

    def __post_init__(self) -> None:
        if self.data.frames is not None and "encoder" in self.work().trained:
            raise ValueError("a stage that trains the encoder cannot read stored frames of it")

    @property
    def needs_peft(self) -> bool:
        """As its work says."""
        return self.work().lora is not None

    @abstractmethod
    def work(self) -> Work:
        """What it runs and trains."""

    def prepare(
        self, data: TrainingData, model: TrainableModel, device: torch.device, progress: ProgressReporter
    ) -> None:
        """Store the encoder's frames if they are what the stage reads; if not, those of the stages before
        have served.
        """
        if data.frames is None:
            return
        if self.data.frames is None:
            drop_frames(data.frames)
            return
        source = self.data.frame_source(data, model.network.encoder)
        build_frames(data.frames, source, device, progress=progress)

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], Any]:
        """Utterances and their labels: their features, or what the encoder has made of these."""
        if self.data.frames is None:
            return self.data.batches(data)
        return self.data.frame_batches(data, model.network.encoder)

    def finish(self, model: TrainableModel) -> None:
        """Add LoRA's corrections to the language model's weights."""
        if self.work().lora is not None:
            merge(model.network.llm)


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
        self.stage.finish(self.trainer.model)

    def load_latest_state(self) -> None:
        self.trainer.load_latest_state(self.name, self.stage)
        self.stage.finish(self.trainer.model)
