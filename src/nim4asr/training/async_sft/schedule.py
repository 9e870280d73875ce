"""Asynchronous IA-SFT: pre-training runs on while the language model trains on its snapshots.

Two workers, which meet at a snapshot store (``nim4asr.training.async_sft.snapshots``) and nowhere else.

The pre-training worker compares its encoder with a reference by CKA, from a quarter of its steps on and then
every half a per cent of them. Under the threshold it publishes a snapshot, which becomes the reference; when
its steps are done it publishes the last, whatever the CKA (``drift_action``).

The IA-SFT worker is a state machine (``next_phase``):

    WAITING ──first snapshot──> ALIGNING ──steps done──> TRAINING ──newer snapshot──> TRAINING on it
                                                             │ steps of the round done: waits for one
                                                             └──final snapshot──> FINAL_ROUND ──> DONE

Adaptor, language model and their optimizer state live through a swap; only the encoder and its phoneme head
are exchanged. Either worker may be killed and started again. On one machine, one command runs them in turns:
pre-training until it publishes, then the other until it has to wait.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, write_atomic
from nim4asr.training.async_sft.snapshots import Snapshot, SnapshotStore
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.pretraining import Pretraining


@dataclass(frozen=True)
class SwapConfig:
    """When pre-training publishes a snapshot."""

    cka_threshold: float = 0.975
    """When the similarity to the newest snapshot falls below this."""
    start_share: float = 0.25
    """It is first measured after this share of the steps,"""
    check_every_share: float = 0.005
    """and then after each such share."""

    def __post_init__(self) -> None:
        if not (
            0 < self.cka_threshold <= 1 and 0 <= self.start_share < 1 and 0 < self.check_every_share <= 1
        ):
            raise ValueError("cka_threshold and the shares lie from 0 to 1; check_every_share is above 0")

    def is_due(self, step: int, steps: int) -> bool:
        """Whether the encoder is looked at after ``step`` of ``steps``."""
        begin, period = round(self.start_share * steps), max(1, round(self.check_every_share * steps))
        return step >= begin and (step - begin) % period == 0


class DriftAction(StrEnum):
    """What pre-training does with its encoder after a step."""

    NOTHING = "nothing"
    SET_REFERENCE = "set reference"
    COMPARE = "compare"
    PUBLISH = "publish"


def drift_action(config: SwapConfig, step: int, steps: int, has_reference: bool) -> DriftAction:
    """What is due after ``step`` of pre-training's ``steps``: the first look makes the reference, others
    compare with it, and the last step is published whatever it is like.
    """
    if step >= steps:
        return DriftAction.PUBLISH
    if not config.is_due(step, steps):
        return DriftAction.NOTHING
    return DriftAction.COMPARE if has_reference else DriftAction.SET_REFERENCE


@dataclass(frozen=True)
class AsyncSchedule:
    """What the two workers train, and when encoders are swapped."""

    pretraining: Pretraining
    alignment: Alignment
    ia_sft: IaSft | MixedText
    """Its loop is that of the final round, over which its learning rate falls; before, it is held."""
    steps_per_snapshot: int
    """A round on a snapshot that is not the last takes at most so many steps."""
    swaps: SwapConfig = SwapConfig()
    poll_s: float = 30.0
    """How long a waiting worker sleeps before it looks for a newer snapshot."""


class Phase(StrEnum):
    """Where the IA-SFT worker stands."""

    WAITING = "waiting"
    ALIGNING = "aligning"
    TRAINING = "training"
    FINAL_ROUND = "final round"
    DONE = "done"


@dataclass(frozen=True)
class State:
    """The IA-SFT worker: its phase, the snapshot whose encoder it trains on, and at which of its own steps it
    began on it.
    """

    phase: Phase = Phase.WAITING
    snapshot: int = 0
    round_start: int = 0

    def save(self, folder: Path) -> None:
        """Write the state into ``folder``, as a whole."""
        write_atomic(folder / "phase.json", json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "State":
        """The state in ``folder``; waiting, if there is none. Raises ``InputError`` if it cannot be read."""
        path = folder / "phase.json"
        if not path.exists():
            return cls()
        try:
            row = parse_json(read_text(path))
            numbers = row["snapshot"], row["round_start"]
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError("no numbers")
            return cls(Phase(row["phase"]), *numbers)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: this is no state of IA-SFT; is the run's folder damaged?") from None


@dataclass(frozen=True)
class Progress:
    """What the IA-SFT worker knows when it decides: its steps, and the newest snapshot."""

    aligned: bool
    steps: int
    newest: Snapshot | None


def next_phase(state: State, progress: Progress, config: AsyncSchedule) -> State:
    """The state that follows ``state``; the same one if nothing has happened that changes it."""
    newest = progress.newest
    if state.phase is Phase.WAITING:
        return state if newest is None else State(Phase.ALIGNING, newest.number)
    if state.phase is Phase.ALIGNING:
        if not progress.aligned:
            return state
        return _next_round(newest, progress.steps, state.snapshot)
    if state.phase is Phase.TRAINING:
        if newest is None or newest.number <= state.snapshot:
            return state
        return _next_round(newest, progress.steps, state.snapshot)
    if state.phase is Phase.FINAL_ROUND and progress.steps >= state.round_start + config.ia_sft.loop.steps:
        return replace(state, phase=Phase.DONE)
    return state


def _next_round(newest: Snapshot | None, steps: int, current: int) -> State:
    """The round that begins at ``steps``, on the newest snapshot."""
    if newest is None:
        return State(Phase.TRAINING, current, steps)
    return State(Phase.FINAL_ROUND if newest.final else Phase.TRAINING, newest.number, steps)


def round_loop(state: State, config: AsyncSchedule) -> LoopConfig:
    """The loop of the round that ``state`` is on: held at the peak until the final round, falling over that
    one.
    """
    loop = config.ia_sft.loop
    if state.phase is Phase.FINAL_ROUND:
        return replace(loop, steps=state.round_start + loop.steps, hold_steps=state.round_start)
    end = state.round_start + config.steps_per_snapshot
    return replace(loop, steps=end, hold_steps=end)


def wait_for_snapshot(
    snapshots: SnapshotStore, after: int, poll_s: float, sleep: Callable[[float], None] = time.sleep
) -> Snapshot:
    """The first newer snapshot than ``after``, however long it takes."""
    while True:
        newest = snapshots.latest()
        if newest is not None and newest.number > after:
            return newest
        sleep(poll_s)
