"""Asynchronous IA-SFT as an entry of a recipe: stages 1 to 3 in one."""

from collections.abc import Mapping
from dataclasses import dataclass

from nim4asr.training.async_sft.runner import AsyncIaSftRunner
from nim4asr.training.async_sft.schedule import AsyncSchedule
from nim4asr.training.stages.base import RoundSteps, Stage
from nim4asr.training.trainer import Trainer


@dataclass(frozen=True)
class AsyncIaSft(AsyncSchedule, Stage):
    """Pre-training, alignment and IA-SFT at once, by the schedule that this is."""

    @property
    def needs_phoneme_embedding(self) -> bool:
        """As alignment or IA-SFT does."""
        return self.alignment.needs_phoneme_embedding or self.ia_sft.needs_phoneme_embedding

    @property
    def needs_peft(self) -> bool:
        """As IA-SFT does."""
        return self.ia_sft.needs_peft

    def planned_steps(self, name: str) -> Mapping[str, int | RoundSteps]:
        """The steps of all three, of IA-SFT those of its rounds."""
        return {
            f"{name}/pretraining": self.pretraining.loop.steps,
            f"{name}/alignment": self.alignment.loop.steps,
            f"{name}/ia-sft": RoundSteps(self.steps_per_snapshot, self.ia_sft.loop.steps),
        }

    def runner(self, trainer: Trainer, name: str) -> AsyncIaSftRunner:
        """Both workers in turns, or either. Raises ``InputError`` for a sharded run."""
        return AsyncIaSftRunner(trainer, name, self)
