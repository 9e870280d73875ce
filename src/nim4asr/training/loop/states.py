"""The saved states of a stage: folders ``state-STEP`` with weights, optimizer state and step.

A state is written beside its place and renamed when it is whole, so that a run killed at any moment leaves
only whole ones. Every state holds whole weights, for the stages to come; a sharded run adds Accelerate's own
files.
"""

import errno
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nim4asr.errors import InputError
from nim4asr.files import parse_json, publish_folder, read_text, reason
from nim4asr.model.folder import check_sum
from nim4asr.training.loop.distributed import is_sharded

if TYPE_CHECKING:
    from accelerate import Accelerator

WEIGHTS = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_STEP = "step.json"
# What a damaged byte would change without a sign.
_CHECKED = (WEIGHTS, _OPTIMIZER)
_STATE = re.compile(r"state-(\d+)")


class States:
    """The states in ``folder``, of which the last ``keep`` stay: the ``trained`` weights by name, and the
    optimizer's.
    """

    def __init__(
        self,
        folder: Path,
        trained: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        accelerator: "Accelerator",
        keep: int,
    ) -> None:
        self._folder, self._trained, self._optimizer = folder, trained, optimizer
        self._accelerator, self._keep = accelerator, keep

    def save(self, step: int, wrapped: Any) -> None:
        """Write the state of ``step``; ``wrapped`` is the objective as Accelerate prepared it. Raises
        ``InputError`` if it cannot be written; the states saved before stay.
        """
        new, state = self._folder / "state.new", self._folder / f"state-{step}"
        try:
            if self._accelerator.is_main_process:
                shutil.rmtree(new, ignore_errors=True)
                new.mkdir()
            self._accelerator.wait_for_everyone()
            if is_sharded(self._accelerator):
                self._accelerator.save_state(str(new))
                # Whole, for the stages to come; gathered by all processes, and by some of them for the main
                # one alone.
                whole = self._accelerator.get_state_dict(wrapped) or {}
                weights = {name: whole[name] for name in self._trained if name in whole}
            else:
                weights = {name: p.detach() for name, p in self._trained.items()}
            if self._accelerator.is_main_process:
                save_file({name: p.cpu().contiguous() for name, p in weights.items()}, new / WEIGHTS)
                if not is_sharded(self._accelerator):
                    save_file(self._optimizer_tensors(), new / _OPTIMIZER)
            self._accelerator.wait_for_everyone()
            if self._accelerator.is_main_process:
                sums = {name: check_sum(new / name) for name in _CHECKED if (new / name).exists()}
                (new / _STEP).write_text(json.dumps({"step": step, "sums": sums}))
                publish_folder(new, state)
        except (OSError, SafetensorError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
            why = "the disk is full" if full else str(error)
            shutil.rmtree(new, ignore_errors=True)
            raise InputError(
                f"{self._folder}: the state of step {step} cannot be written: {why}. "
                f"Step {steps_done(self._folder)} is kept; make room and start again"
            ) from None
        if self._accelerator.is_main_process:
            for old in _states(self._folder)[: -self._keep]:
                shutil.rmtree(old, ignore_errors=True)

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value.contiguous()
            for name, parameter in self._trained.items()
            for key, value in self._optimizer.state.get(parameter, {}).items()
        }

    def restore(self) -> int:
        """Load the newest state, if there is one; returns its step, or 0. Raises ``InputError`` if the state
        is damaged or of another model.
        """
        state = latest_state(self._folder)
        if state is None:
            return 0
        if is_sharded(self._accelerator):
            self._accelerator.load_state(str(state))
        else:
            load_weights(state, self._trained)
            for key, value in _load(state, _OPTIMIZER).items():
                name, _, kind = key.rpartition("/")
                if name not in self._trained:
                    raise InputError(f"{state}: the state is of another model; choose another output folder")
                parameter = self._trained[name]
                # The number of steps stays where torch's optimizers keep it, on the processor.
                self._optimizer.state[parameter][kind] = (
                    value if value.ndim == 0 else value.to(parameter.device)
                )
        return steps_done(self._folder)


def latest_state(folder: Path) -> Path | None:
    """The newest whole state of the stage in ``folder``."""
    states = _states(folder)
    return states[-1] if states else None


def steps_done(folder: Path) -> int:
    """How many steps the stage in ``folder`` has done, by its newest state."""
    state = latest_state(folder)
    if state is None:
        return 0
    step, _ = _read_step(state)
    return step


def _read_step(state: Path) -> tuple[int, dict[str, int]]:
    """The step of a state, and the check sums of its files; none of one that an older version has written."""
    try:
        row = parse_json(read_text(state / _STEP))
        step = int(row["step"])
        sums = {str(name): int(value) for name, value in row.get("sums", {}).items()}
        if state.name != f"state-{step}":
            raise ValueError("another step")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{state / _STEP}: this is no step of a run; {_remedy(state)}") from None
    return step, sums


def _load(state: Path, name: str) -> dict[str, Tensor]:
    """The tensors in a file of a state. Raises ``InputError`` if it is missing or not what was saved."""
    _, sums = _read_step(state)
    try:
        if name in sums and check_sum(state / name) != sums[name]:
            raise ValueError(f"{name} is not what was saved")
        return load_file(state / name)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{state}: the state is damaged ({reason(error)}); {_remedy(state)}") from None


def _remedy(state: Path) -> str:
    others = len(_states(state.parent)) > 1
    return f"remove this folder to go on {'before it' if others else 'from the beginning of the stage'}"


def load_weights(state: Path, trained: Mapping[str, Tensor]) -> None:
    """Copy the weights of ``state`` into ``trained``. Raises ``InputError`` if they are not those of such a
    model.
    """
    weights = _load(state, WEIGHTS)
    if weights.keys() != trained.keys() or any(weights[k].shape != v.shape for k, v in trained.items()):
        raise InputError(f"{state}: the state is of another model; choose another output folder")
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(weights[name])


def _states(folder: Path) -> list[Path]:
    """The states of ``folder``, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(m[1]), path) for path in folder.iterdir() if (m := _STATE.fullmatch(path.name))]
    return [path for _, path in sorted(found)]
