"""Where a run stands, read from its folder alone: while it runs, or after it was killed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nim4asr.data.store import LEFT_OUT
from nim4asr.errors import InputError
from nim4asr.files import is_unicode, parse_json, read_text, write_atomic
from nim4asr.training.async_sft.schedule import Phase, State
from nim4asr.training.async_sft.snapshots import Snapshot, SnapshotStore
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.states import steps_done
from nim4asr.training.prepare import SKIPPED
from nim4asr.training.recipe import MODEL, Recipe
from nim4asr.training.stages.base import RoundSteps

RECIPE, DOING = "recipe.json", "doing.json"


@dataclass(frozen=True)
class StageStatus:
    """One stage, or one worker of an asynchronous one: steps done of how many, and what its log said last.

    How many the IA-SFT worker takes depends on the snapshots to come: ``steps`` is the end of the round it is
    on.
    """

    name: str
    done: int
    steps: int
    last: dict[str, Any]


@dataclass(frozen=True)
class RunStatus:
    """A run: its stages in order, the phase of asynchronous IA-SFT and the snapshots, how many utterances
    each list of left-out ones holds, whether the model is written, and, of a tuning, which step it began
    last.
    """

    recipe: str
    stages: tuple[StageStatus, ...]
    phase: str | None
    snapshots: tuple[Snapshot, ...]
    left_out: dict[str, int]
    model: bool
    doing: str | None = None


def write_recipe(folder: Path, name: str, recipe: Recipe, stages: Sequence[str]) -> None:
    """Keep beside the weights what the run was asked for: names and steps of its ``stages``, and every
    setting.
    """
    settings = asdict(recipe)
    settings.pop("network")
    row = {"recipe": name, "stages": _steps(recipe, stages), "settings": settings}
    write_atomic(folder / RECIPE, json.dumps(row, ensure_ascii=False, indent=1, default=str) + "\n")


def write_doing(folder: Path, name: str, step: str) -> None:
    """Keep which ``step`` begins of the run ``name``, some of which come before its stages are known."""
    write_atomic(folder / DOING, json.dumps({"recipe": name, "doing": step}, ensure_ascii=False) + "\n")


def _read_doing(folder: Path) -> tuple[str, str] | None:
    """The run's name and its step, if ``write_doing`` has kept them."""
    try:
        row = parse_json(read_text(folder / DOING))
        name, step = row["recipe"], row["doing"]
    except (ValueError, KeyError, TypeError):
        return None
    told = isinstance(name, str) and isinstance(step, str) and is_unicode(name + step)
    return (name, step) if told else None


def _steps(recipe: Recipe, stages: Sequence[str]) -> dict[str, int | dict[str, int]]:
    """The planned steps of every loop by the folder of its states; of a loop in rounds, those of its
    rounds.
    """
    planned = {k: steps for name in stages for k, steps in recipe.stages[name].planned_steps(name).items()}
    return {
        folder: asdict(steps) if isinstance(steps, RoundSteps) else steps for folder, steps in planned.items()
    }


def read_status(folder: Path) -> RunStatus:
    """The status of the run in ``folder``. Raises ``InputError`` if no run has begun there."""
    known = _read_doing(folder)
    if known is not None and not (folder / RECIPE).exists():
        return RunStatus(known[0], (), None, (), {}, False, known[1])
    try:
        row = parse_json(read_text(folder / RECIPE))
        recipe, steps = str(row["recipe"]), {name: _numbers(counts) for name, counts in row["stages"].items()}
        if not steps or not all(map(is_unicode, [recipe, *steps])) or not all(map(_is_place, steps)):
            raise ValueError("no stages")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise InputError(f"{folder}: no run has begun here ({RECIPE} is missing or damaged)") from None
    stages = tuple(_stage(folder, name, most) for name, most in steps.items())
    parents = sorted({name.rpartition("/")[0] for name in steps if "/" in name})
    phase, snapshots = None, tuple[Snapshot, ...]()
    for parent in parents:
        phase = State.load(folder / parent / "ia-sft").phase.value
        snapshots = tuple(SnapshotStore(folder / parent / "snapshots").snapshots())
    lists = [*folder.glob("left-out-*.jsonl"), *folder.glob(f"features/*/{LEFT_OUT}"), *folder.glob(SKIPPED)]
    counts = {
        str(path.relative_to(folder)): len(path.read_text(encoding="utf-8").splitlines()) for path in lists
    }
    left_out = {name: count for name, count in sorted(counts.items()) if count}
    doing = None if known is None else known[1]
    return RunStatus(recipe, stages, phase, snapshots, left_out, (folder / MODEL).exists(), doing)


def _is_place(name: str) -> bool:
    """Whether a stage's name is that of a folder inside the run's."""
    return (
        bool(name) and "\0" not in name and len(name) < 200 and ".." not in name.split("/") and name[0] != "/"
    )


def _numbers(steps: Any) -> int | dict[str, int]:
    """What ``_steps`` wrote of a stage; ``ValueError``, ``TypeError`` or ``KeyError`` if it is something
    else.
    """
    return {kind: int(steps[kind]) for kind in ("round", "final")} if isinstance(steps, dict) else int(steps)


def _stage(folder: Path, name: str, steps: int | dict[str, int]) -> StageStatus:
    last: dict[str, Any] = {}
    for row in read_log(folder / name):
        last |= row
    if not isinstance(steps, int):
        state = State.load(folder / name)
        steps = (
            state.round_start + steps["final" if state.phase in (Phase.FINAL_ROUND, Phase.DONE) else "round"]
        )
    return StageStatus(name, steps_done(folder / name), steps, last)


def as_text(status: RunStatus) -> str:
    """The status for a reader."""
    width = max((len(stage.name) for stage in status.stages), default=0)
    stands = "model written" if status.model else "in training"
    lines = [f"{status.recipe}: {stands if status.doing is None else f'last begun: {status.doing}'}"]
    for stage in status.stages:
        told = {k: v for k, v in stage.last.items() if k not in _QUIET}
        said = "  ".join(f"{name} {value:.3g}" for name, value in told.items())
        lines.append(f"  {stage.name:{width}}  {stage.done:>8} of {stage.steps:<8}  {said}".rstrip())
    if status.phase is not None:
        lines.append(f"  asynchronous IA-SFT: {status.phase}")
    for snapshot in status.snapshots:
        end = ", final" if snapshot.final else ""
        lines.append(
            f"    snapshot {snapshot.number} of step {snapshot.step}: "
            f"CKA {snapshot.cka:.4f} to that of {snapshot.reference_step}{end}"
        )
    lines += [f"  {count} utterances left out: {name}" for name, count in status.left_out.items()]
    return "\n".join(lines)


_QUIET = ("step", "learning_rate", "gradient_norm", "waiting_share")
