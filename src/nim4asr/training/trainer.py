"""One stage after another on one model: its objective, its batches, its dev metrics, its loop."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nim4asr.analysis.entropy import spectral_entropy
from nim4asr.analysis.similarity import evaluation_batches, frames_of, linear_cka
from nim4asr.data.batches import Collator, SpeechBatch
from nim4asr.errors import InputError
from nim4asr.training.dev_metrics import dev_errors
from nim4asr.training.loop.loop import Loop, LoopConfig, is_sharded, latest_state, load_weights, steps_done
from nim4asr.training.loop.objective import Objective
from nim4asr.training.prepare import PreparedData
from nim4asr.training.recipe import ProgressReporter
from nim4asr.training.stages.base import Stage, TrainableModel
from nim4asr.training.stages.pretraining import AcousticModel
from nim4asr.training.stages.rl import Rl

if TYPE_CHECKING:
    from accelerate import Accelerator

# Utterances of each dev corpus that errors, and CKA and NSE, are taken on during training.
_HEARD, _GAUGED = 100, 32


@dataclass(frozen=True, eq=False)
class Trainer:
    """Trains stages on one model; each has a folder of its name in ``folder``."""

    folder: Path
    model: TrainableModel
    prepared: PreparedData
    progress: ProgressReporter
    accelerator: "Accelerator"

    def is_done(self, name: str, stage: Stage) -> bool:
        """Whether the stage has done all its steps."""
        return steps_done(self.folder / name) >= stage.loop.steps

    def load_latest_state(self, name: str, stage: Stage) -> None:
        """Give the model the weights of the newest state of a stage, if there is one."""
        state = latest_state(self.folder / name)
        if state is not None:
            load_weights(state, _trained(stage.objective(self.model)))

    def train(
        self,
        name: str,
        stage: Stage,
        loop: LoopConfig | None = None,
        pause: Callable[[int], bool] | None = None,
    ) -> int:
        """Train one stage with its own loop, or with ``loop``; returns the steps done."""
        settings = loop or stage.loop
        if isinstance(stage, Rl) and is_sharded(self.accelerator):
            raise InputError("roll-outs need whole weights; run RL data-parallel, without FSDP or DeepSpeed")

        def counted(steps: Iterator[int], done: int) -> Iterator[int]:
            if not self.accelerator.is_local_main_process:
                return steps
            return self.progress(steps, name, settings.steps, done)

        objective: Objective[object] = stage.objective(self.model)
        return Loop(
            self.folder / name,
            objective,
            settings,
            stage.batches(self.prepared.data, self.model),
            self._dev_metrics(),
            counted,
            self.accelerator,
        ).run(pause)

    @cached_property
    def fixed(self) -> list[SpeechBatch]:
        """The fixed evaluation set of the dev metrics; empty where the recipe has no dev corpus."""
        return evaluation_batches(
            list(self.prepared.dev.values()), Collator(self.prepared.data.cmvn), _GAUGED
        )

    def _dev_metrics(self) -> Callable[[], Mapping[str, float]] | None:
        """Errors on the dev corpora, and the encoder's drift from what it was when the stage began.

        Phoneme errors under the corpus's name; errors of text, under ``NAME_text``, where the stage trains
        the adaptor.
        """
        # No process alone could run a sharded encoder.
        if not self.prepared.dev or is_sharded(self.accelerator):
            return None
        network = self.model.network
        before = frames_of(network.encoder, self.fixed)
        adaptor = network.adaptor
        writes = adaptor is not None and any(p.requires_grad for p in adaptor.parameters())

        def measure() -> Mapping[str, float]:
            clean = Collator(self.prepared.data.cmvn)
            rates: dict[str, float | None] = {}
            for corpus, store in self.prepared.dev.items():
                errors = dev_errors(self.model, store, clean, _HEARD, writes)
                rates[corpus] = errors.phonemes.rate
                rates[f"{corpus}_text"] = errors.text.rate
            now = frames_of(network.encoder, self.fixed)
            drift = {"cka": linear_cka(before, now), "nse": spectral_entropy(now)}
            return {**{name: rate for name, rate in rates.items() if rate is not None}, **drift}

        return measure

    def acoustic(self) -> AcousticModel:
        """The model's encoder and phoneme head."""
        network = self.model.network
        assert network.phoneme_head is not None
        return AcousticModel(network.encoder, network.phoneme_head)


def _trained(objective: Objective[object]) -> dict[str, torch.Tensor]:
    return {name: p for name, p in objective.named_parameters() if p.requires_grad}
