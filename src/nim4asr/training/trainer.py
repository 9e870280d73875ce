"""Trains one stage at a time on one model: its objective, its batches, its dev metrics, its loop."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from numpy.random import Generator
from torch import Tensor

from nim4asr.analysis.entropy import spectral_entropy
from nim4asr.analysis.similarity import evaluation_batches, frames_of, linear_cka
from nim4asr.data.batches import Collator, SpeechBatch
from nim4asr.data.store import FeatureStore
from nim4asr.errors import InputError
from nim4asr.progress import ProgressReporter
from nim4asr.training.dev_metrics import dev_errors
from nim4asr.training.loop.distributed import is_sharded
from nim4asr.training.loop.loop import Loop, LoopConfig
from nim4asr.training.loop.objective import Objective
from nim4asr.training.loop.states import latest_state, load_weights, steps_done
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import TrainingData

if TYPE_CHECKING:
    from accelerate import Accelerator

# Utterances of each dev corpus on which errors are counted, and on which CKA and NSE are measured.
_ERROR_UTTERANCES, _DRIFT_UTTERANCES = 100, 32


class Trained(Protocol):
    """What the trainer asks of a stage."""

    @property
    def loop(self) -> LoopConfig: ...

    @property
    def shardable(self) -> bool: ...

    def prepare(
        self, data: TrainingData, model: TrainableModel, device: torch.device, progress: ProgressReporter
    ) -> None: ...

    def objective(self, model: TrainableModel) -> Objective[Any]: ...

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], Any]: ...


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains stages on one model; each has a folder of its name in ``folder``."""

    folder: Path
    model: TrainableModel
    data: TrainingData
    dev: Mapping[str, FeatureStore]
    progress: ProgressReporter
    accelerator: "Accelerator"

    def is_done(self, name: str, stage: Trained) -> bool:
        """Whether the stage has done all its steps."""
        return steps_done(self.folder / name) >= stage.loop.steps

    def load_latest_state(self, name: str, stage: Trained) -> None:
        """Give the model the weights of the newest state of a stage, if there is one."""
        state = latest_state(self.folder / name)
        if state is not None:
            load_weights(state, _trained(stage.objective(self.model)))

    def train(
        self,
        name: str,
        stage: Trained,
        loop: LoopConfig | None = None,
        pause: Callable[[int], bool] | None = None,
    ) -> int:
        """Train one stage with its own loop, or with ``loop``; returns the steps done."""
        settings = loop or stage.loop
        if not stage.shardable and is_sharded(self.accelerator):
            raise InputError(
                f"the stage {name!r} needs whole weights; run it data-parallel, without FSDP or DeepSpeed"
            )

        def counted(steps: Iterator[int], done: int) -> Iterator[int]:
            if not self.accelerator.is_local_main_process:
                return steps
            return self.progress(steps, name, settings.steps, done)

        with self.accelerator.main_process_first(), self.accelerator.autocast():
            stage.prepare(self.data, self.model, self.accelerator.device, self.progress)
        if not is_sharded(self.accelerator):
            # What this stage needs goes to its device, and what only others need makes room.
            self.model.network.to("cpu")
        objective: Objective[object] = stage.objective(self.model)
        return Loop(
            self.folder / name,
            objective,
            settings,
            stage.batches(self.data, self.model),
            self._dev_metrics(),
            counted,
            self.accelerator,
        ).run(pause)

    @cached_property
    def drift_batches(self) -> list[SpeechBatch]:
        """Dev utterances for CKA and NSE, always the same; none where the recipe has no dev corpus."""
        return evaluation_batches(list(self.dev.values()), Collator(self.data.frontend), _DRIFT_UTTERANCES)

    def _dev_metrics(self) -> Callable[[], Mapping[str, float]] | None:
        """Errors on the dev corpora, and the encoder's drift from what it was when the stage began.

        Phoneme errors under the corpus's name; errors of text, under ``NAME_text``, where the stage trains
        the adaptor.
        """
        # No process alone could run a sharded encoder.
        if not self.dev or is_sharded(self.accelerator):
            return None
        network = self.model.network
        before = frames_of(network.encoder, self.drift_batches)
        adaptor = network.adaptor
        writes = adaptor is not None and any(p.requires_grad for p in adaptor.parameters())

        def measure() -> Mapping[str, float]:
            clean = Collator(self.data.frontend)
            rates: dict[str, float | None] = {}
            for corpus, store in self.dev.items():
                errors = dev_errors(self.model, store, clean, _ERROR_UTTERANCES, writes)
                rates[corpus] = errors.phonemes.rate
                rates[f"{corpus}_text"] = errors.text.rate
            now = frames_of(network.encoder, self.drift_batches)
            drift = {"cka": linear_cka(before, now), "nse": spectral_entropy(now)}
            return {**{name: rate for name, rate in rates.items() if rate is not None}, **drift}

        return measure


def _trained(objective: Objective[object]) -> dict[str, Tensor]:
    return {name: p for name, p in objective.named_parameters() if p.requires_grad}
