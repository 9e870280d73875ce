"""How long and how fast a model is tuned, by how much speech there is; what a limit of time makes of it.

The learning rate is held for the first half of the steps and falls to nothing in the second: half of what a
run gains, it gains while the rate falls. So a run that is short of time begins the fall when half of its time
is over, and takes as many steps for it as it took before.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from nim4asr.model.shapes import ChunkScheme
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.pretraining import ChunkSampling

# Recordings to train on, in seconds.
SHORTEST_S, LONGEST_S = 0.3, 20.0
# Parameters up to which a model is trained as nano is, by Muon at a rate for it; larger ones, of public
# parts, by AdamW at a lower one.
_SMALL = 100_000_000
_NANO = 14_000_000


@dataclass(frozen=True)
class Plan:
    """Batches of so many seconds, so many steps, the peak of the learning rate, and the optimizer."""

    batch_seconds: float
    steps: int
    peak_lr: float
    muon: bool = True

    @property
    def hold(self) -> int:
        """The step at which the learning rate begins to fall."""
        return (self.steps + 1) // 2

    def at_half_time(self, done: int) -> "Plan":
        """The plan of a run whose half of the time is over after ``done`` steps."""
        return replace(self, steps=min(self.steps, 2 * done))

    def stage(self, chunks: ChunkScheme | None) -> JointSft:
        """Joint SFT by this plan, of a model that hears live speech in ``chunks``, or not at all."""
        # A state every now and then: a run that is cut loses little.
        often = min(100, max(10, self.steps // 10))
        optimizer = OptimizerConfig(
            self.peak_lr, muon=self.muon, weight_decay=0.05 if self.muon else 0.01, clip_norm=1.0
        )
        loop = LoopConfig(
            self.steps,
            optimizer,
            warmup_steps=max(1, min(100, self.steps // 10)),
            hold_steps=self.hold,
            log_every=min(20, often),
            evaluate_every=self.steps,
            checkpoint_every=often,
        )
        # Hints in some prompts, so that the model does not forget what they are.
        hints = HintSampling(share=0.3)
        speech = SpeechData(self.batch_seconds, LONGEST_S, SHORTEST_S)
        return JointSft(loop, speech, chunks=sampling(chunks), hints=hints)


def plan_for(
    seconds: float,
    parameters: int,
    replayed: float = 0.0,
    steps: int | None = None,
    peak_lr: float | None = None,
) -> Plan:
    """The plan for so many ``seconds`` of speech and a model of so many ``parameters``, with so many seconds
    of other speech ``replayed`` in each pass; ``steps`` and ``peak_lr`` are taken where they are given.

        passes = 12 / sqrt(hours), from 2 to 60
        peak_lr = 3e-4 * sqrt(14 M / parameters), at most 3e-4, and lower for under an hour

    (ours): little speech is heard more often, at a lower rate, in smaller batches.
    """
    hours = max(seconds, 1.0) / 3600
    passes = min(60.0, max(2.0, 12 / math.sqrt(hours)))
    batch_seconds = min(64.0, max(16.0, seconds / 20))
    if peak_lr is None:
        peak_lr = 3e-4 * min(1.0, math.sqrt(_NANO / parameters)) * min(1.0, hours**0.25)
    if steps is None:
        steps = max(100, math.ceil(passes * (seconds + replayed) / batch_seconds))
    return Plan(batch_seconds, steps, float(f"{peak_lr:.2g}"), parameters <= _SMALL)


def sampling(chunks: ChunkScheme | None) -> ChunkSampling:
    """The chunks of training for a model that is run in ``chunks``: theirs are among them."""
    if chunks is None:
        return ChunkSampling(full_context_share=1.0)
    usual = ChunkSampling()
    return replace(
        usual,
        frames=(min(usual.frames[0], chunks.size), max(usual.frames[1], chunks.size)),
        left=(min(usual.left[0], chunks.left), max(usual.left[1], chunks.left)),
    )


def training_seconds(folder: Path) -> float:
    """How long the steps of the stage in ``folder`` have taken, by its log: all that counts, whatever was
    lost to kills or taken by states and evaluation.
    """
    total, before = 0.0, 0
    for row in read_log(folder):
        if "seconds_per_step" in row:
            total += (row["step"] - before) * row["seconds_per_step"]
            before = int(row["step"])
    return total
