"""Asynchronous IA-SFT: pre-training runs on while the language model trains on its snapshots.

Two sides, which meet on a snapshot board (``nim4asr.training.async_sft.snapshots``) and nowhere else.

Pre-training's side compares its encoder with a reference by CKA, from a quarter of its steps on and then
every half a per cent of them. Under the threshold it publishes a snapshot, which becomes the reference; when
its steps are done it publishes the last, whatever the CKA (``look``).

IA-SFT's side is a state machine (``next_phase``):

    WAITING ──first snapshot──> ALIGNING ──steps done──> TRAINING on snapshot k ──newer snapshot──> TRAINING on it
                                                             │ steps of the leg done: waits for a newer one
                                                             └──final snapshot──> FINAL_LEG ──steps done──> DONE

Adaptor, language model and their optimizer state live through a swap; only the encoder and its phoneme head
are exchanged. Either side may be killed and started again. On one machine, one command runs them in turns:
pre-training until it publishes, then the other side until it has to wait.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text, write_atomic
from nim4asr.training.async_sft.snapshots import Snapshot, SnapshotBoard
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.mixed_text import WithText
from nim4asr.training.stages.pretraining import Pretraining


@dataclass(frozen=True)
class SwapConfig:
    """When pre-training publishes: below ``threshold``, looked at from ``first`` of its steps on, ``every``
    share of them.
    """

    threshold: float = 0.975
    first: float = 0.25
    every: float = 0.005

    def __post_init__(self) -> None:
        if not (0 < self.threshold <= 1 and 0 <= self.first < 1 and 0 < self.every <= 1):
            raise ValueError("threshold, first and every are shares; every is above 0")

    def is_due(self, step: int, steps: int) -> bool:
        """Whether the encoder is looked at after ``step`` of ``steps``."""
        begin, period = round(self.first * steps), max(1, round(self.every * steps))
        return step >= begin and (step - begin) % period == 0


class Look(StrEnum):
    """What pre-training does with its encoder after a step."""

    NOTHING = "nothing"
    REFER = "refer"
    COMPARE = "compare"
    PUBLISH = "publish"


def look(config: SwapConfig, step: int, steps: int, has_reference: bool) -> Look:
    """What is due after ``step`` of pre-training's ``steps``: the first look makes the reference, others
    compare with it, and the last step is published whatever it is like.
    """
    if step >= steps:
        return Look.PUBLISH
    if not config.is_due(step, steps):
        return Look.NOTHING
    return Look.COMPARE if has_reference else Look.REFER


@dataclass(frozen=True)
class AsynchronousIaSft:
    """Stages 1 to 3 in one. Every leg on a snapshot but the final one takes at most ``leg_steps``; the steps
    of ``ia_sft.loop`` are those of the final leg, over which its learning rate falls; before it, it is held.
    """

    pretraining: Pretraining
    alignment: Alignment
    ia_sft: IaSft | WithText
    leg_steps: int
    swaps: SwapConfig = SwapConfig()
    # How long a side that waits sleeps before it looks at the board again, in seconds.
    patience: float = 30.0


class Phase(StrEnum):
    """Where IA-SFT's side stands."""

    WAITING = "waiting"
    ALIGNING = "aligning"
    TRAINING = "training"
    FINAL_LEG = "final leg"
    DONE = "done"


@dataclass(frozen=True)
class State:
    """IA-SFT's side: its phase, the snapshot whose encoder it trains on, and at which of its own steps it
    began on it.
    """

    phase: Phase = Phase.WAITING
    snapshot: int = 0
    leg_began: int = 0

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
            numbers = row["snapshot"], row["leg_began"]
            if not all(type(one) is int and one >= 0 for one in numbers):
                raise ValueError("no numbers")
            return cls(Phase(row["phase"]), *numbers)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}: this is no state of IA-SFT; is the run's folder damaged?") from None


@dataclass(frozen=True)
class Progress:
    """What IA-SFT's side knows when it decides: its steps, and the newest snapshot."""

    aligned: bool
    steps: int
    newest: Snapshot | None


def next_phase(state: State, progress: Progress, config: AsynchronousIaSft) -> State:
    """The state that follows ``state``; the same one if nothing has happened that changes it."""
    newest = progress.newest
    if state.phase is Phase.WAITING:
        return state if newest is None else State(Phase.ALIGNING, newest.number)
    if state.phase is Phase.ALIGNING:
        if not progress.aligned:
            return state
        return _leg(newest, progress.steps, state.snapshot)
    if state.phase is Phase.TRAINING:
        if newest is None or newest.number <= state.snapshot:
            return state
        return _leg(newest, progress.steps, state.snapshot)
    if state.phase is Phase.FINAL_LEG and progress.steps >= state.leg_began + config.ia_sft.loop.steps:
        return replace(state, phase=Phase.DONE)
    return state


def _leg(newest: Snapshot | None, steps: int, current: int) -> State:
    """The leg that begins at ``steps``, on the newest snapshot."""
    if newest is None:
        return State(Phase.TRAINING, current, steps)
    return State(Phase.FINAL_LEG if newest.final else Phase.TRAINING, newest.number, steps)


def leg_loop(state: State, config: AsynchronousIaSft) -> LoopConfig:
    """The loop of the leg that ``state`` is on: held at the peak until the final leg, falling over that
    one.
    """
    loop = config.ia_sft.loop
    if state.phase is Phase.FINAL_LEG:
        return replace(loop, steps=state.leg_began + loop.steps, hold_steps=state.leg_began)
    end = state.leg_began + config.leg_steps
    return replace(loop, steps=end, hold_steps=end)


def wait_for_snapshot(
    board: SnapshotBoard, after: int, patience: float, sleep: Callable[[float], None] = time.sleep
) -> Snapshot:
    """The first newer snapshot than ``after``, however long it takes."""
    while True:
        newest = board.latest()
        if newest is not None and newest.number > after:
            return newest
        sleep(patience)
