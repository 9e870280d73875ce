"""What a run will take: the memory, the time and the disk of each stage, predicted for a machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from nim4asr.data.amount import Amount
from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.training.costs import CostModel
from nim4asr.training.machine import GIGA, Machine
from nim4asr.training.recipe import Recipe
from nim4asr.training.stages.base import SpeechStage

# Bytes of a weight in a state, with what AdamW keeps of it, and in the saved model.
_STATE_BYTES, _SAVED_BYTES = 12, 2


@dataclass(frozen=True)
class StagePlan:
    """One stage, predicted."""

    name: str
    steps: int
    batch_seconds: float
    batches: int
    """Of a step."""
    memory_bytes: float
    seconds: float
    disk_bytes: float
    """Its states, and the frames that it stores, which are taken away later."""


@dataclass(frozen=True)
class RunPlan:
    """All stages, predicted; ``disk_bytes`` is the most that the run's folder takes."""

    machine: Machine
    amount: Amount
    parameters: int
    stages: tuple[StagePlan, ...]
    disk_bytes: float

    @property
    def seconds(self) -> float:
        """The whole run, the reading of corpora not counted."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def memory_bytes(self) -> float:
        """The most that any stage takes."""
        return max(stage.memory_bytes for stage in self.stages)


def plan_run(
    recipe: Recipe, config: Nim4Config, machine: Machine, amount: Amount, names: Sequence[str]
) -> RunPlan:
    """The stages ``names`` of ``recipe`` on the network of ``config``, over ``amount`` of speech.

    Raises ``InputError`` for a stage that does not train on speech: its costs are not known.
    """
    model = CostModel(config, machine.precision, machine.device)
    stages, disk = [], _corpora_bytes(recipe, config, amount) + _SAVED_BYTES * model.parameters
    most_frames, stored = 0.0, False
    for name in names:
        stage = recipe.stages[name]
        if not isinstance(stage, SpeechStage):
            raise InputError(f"what the stage {name!r} costs cannot be predicted")
        cost, loop, data = model.cost(stage), stage.loop, stage.data
        batches = loop.steps * loop.accumulation_steps
        batch_s = batches * data.batch_seconds
        # Of a batch's seconds, what is sound.
        audio_s = batch_s * amount.seconds / (amount.seconds + amount.utterances * data.utterance_cost_s)
        seconds = cost.seconds(machine, audio_s, batch_s, batches)
        frames = 0.0
        if data.frames is not None and not stored:
            seconds += cost.frame_seconds(machine, amount.seconds)
            frames = cost.frame_bytes_per_audio_s * amount.seconds
        stored = data.frames is not None
        states = _STATE_BYTES * cost.trained * loop.keep_states
        disk += states
        most_frames = max(most_frames, frames)
        memory = cost.memory_bytes(data.batch_seconds)
        stages.append(
            StagePlan(
                name,
                loop.steps,
                data.batch_seconds,
                loop.accumulation_steps,
                memory,
                seconds,
                states + frames,
            )
        )
    return RunPlan(machine, amount, model.parameters, tuple(stages), disk + most_frames)


def _corpora_bytes(recipe: Recipe, config: Nim4Config, amount: Amount) -> float:
    """What stored features take of the disk."""
    if not any(corpus.stored for corpus in recipe.corpora.values()):
        return 0.0
    return 2.0 * amount.seconds * config.features.hz * config.features.bins


def as_text(plan: RunPlan) -> str:
    """The plan for a reader."""
    machine, amount = plan.machine, plan.amount
    rows = [("stage", "steps", "a step", "memory", "time", "disk")]
    rows += [
        (
            one.name,
            str(one.steps),
            f"{one.batches} x {one.batch_seconds:.0f} s",
            size(one.memory_bytes),
            duration(one.seconds),
            size(one.disk_bytes),
        )
        for one in plan.stages
    ]
    whole = size(plan.memory_bytes), duration(plan.seconds), size(plan.disk_bytes)
    rows.append(("all", "", "", *whole))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        [
            f"{_millions(plan.parameters)} M parameters; {speech(amount.seconds)} of speech, "
            f"{amount.utterances:,} utterances",
            f"{machine.name}: {machine.memory_bytes / GIGA:.1f} GB of memory to take, "
            f"{rate(machine.flops)} "
            f"in {'bfloat16' if machine.precision == 'bf16' else 'float32'}, "
            f"{machine.disk_bytes / GIGA:.0f} GB of disk",
            "",
            *(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                for row in rows
            ),
            "",
            "Predicted by a formula, not measured; reading the corpora and dev metrics come on top.",
        ]
    )


def rate(flops: float) -> str:
    """A speed for a reader, in a unit that has figures for it: ``100.00 TFLOP/s``, ``45 GFLOP/s``."""
    if flops < 1e12:
        return f"{max(flops / 1e9, 0.1):.{0 if flops >= 1e10 else 1}f} GFLOP/s"
    return f"{flops / 1e12:.2f} TFLOP/s"


def size(count: float) -> str:
    """Bytes for a reader: ``1.2 GB``; of little, ``30 MB``."""
    if 0 < count < 1e6:
        return "under 1 MB"
    return f"{count / 1e6:.0f} MB" if 0 < count < GIGA / 20 else f"{count / GIGA:.1f} GB"


def speech(seconds: float) -> str:
    """How much speech there is: ``300.0 hours``; of little, ``2.5 minutes``."""
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:,.1f} hours"


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:,.1f}" if parameters >= 50_000 else f"{parameters / 1e6:.3f}"


def duration(seconds: float) -> str:
    """A time for a reader: ``40 s``, ``12 min``, ``3.4 h``."""
    if seconds < 0.5:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
