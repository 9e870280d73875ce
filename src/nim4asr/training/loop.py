"""The loop every stage shares: schedule, clipping, log, evaluation, checkpoints, restart.

A run's folder holds ``log.jsonl`` (a line of metrics each) and ``state`` (weights, optimiser state and
step, replaced as a whole). A run that finds a state goes on from it with the same batches.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from numpy.random import Generator, default_rng
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nim4asr.data.batches import Prefetcher
from nim4asr.errors import InputError
from nim4asr.training.optimiser import MuonAdamW, OptimiserConfig

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LoopConfig:
    """How long a stage runs. The learning rate rises linearly over ``warmup_steps`` and then falls as a
    cosine to ``final_share`` of its peak at ``steps``.
    """

    steps: int
    optimiser: OptimiserConfig
    warmup_steps: int = 100
    final_share: float = 0.0
    seed: int = 0
    log_every: int = 20
    evaluate_every: int = 500
    checkpoint_every: int = 250

    def learning_rate(self, step: int) -> float:
        """The learning rate of the step ``step``, counted from 0."""
        peak = self.optimiser.peak_lr
        if step < self.warmup_steps:
            return peak * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return peak * (self.final_share + (1 - self.final_share) * share)


class Loop(Generic[Batch]):
    """Trains ``model`` in place.

    ``make_batch(step, random)`` runs in a background thread; ``loss(batch)`` returns what is minimised
    under the key ``loss`` and whatever else is worth logging; ``evaluate()`` returns dev metrics.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        config: LoopConfig,
        make_batch: Callable[[int, Generator], Batch],
        loss: Callable[[Batch, Generator], Mapping[str, Tensor]],
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        progress: Callable[[Iterator[int], int], Iterator[int]] | None = None,
    ) -> None:
        self.folder, self.model, self.config = folder, model, config
        self._make_batch, self._loss, self._evaluate = make_batch, loss, evaluate
        self._progress = progress or (lambda steps, start: steps)
        self.optimiser = MuonAdamW(model.named_parameters(), config.optimiser)
        self._trained = [p for p in model.parameters() if p.requires_grad]

    def run(self) -> None:
        """Train to the last step, from the saved state if the folder holds one.

        Raises ``InputError`` if the loss is no number, leaving the last good state in place.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        start = self._restore()
        if start >= self.config.steps:
            return
        batches = Prefetcher(self._batches(start))
        sums: dict[str, float] = {}
        began = time.monotonic()
        steps = self._progress(iter(range(start, self.config.steps)), start)
        self.model.train()
        for step, batch in zip(steps, batches, strict=False):
            for name, value in self._step(step, batch).items():
                sums[name] = sums.get(name, 0.0) + value
            done = step + 1
            last = done == self.config.steps
            if done % self.config.log_every == 0 or last:
                elapsed = time.monotonic() - began
                count = sums.pop("steps")
                metrics = {name: total / count for name, total in sums.items()}
                self._log(done, {**metrics, "seconds_per_step": elapsed / count})
                sums, began = {}, time.monotonic()
            if self._evaluate and (done % self.config.evaluate_every == 0 or last):
                self.model.eval()
                with torch.no_grad():
                    self._log(done, self._evaluate())
                self.model.train()
                began = time.monotonic()
            if done % self.config.checkpoint_every == 0 or last:
                self._save(done)

    def _batches(self, start: int) -> Iterator[Batch]:
        for step in range(start, self.config.steps):
            yield self._make_batch(step, default_rng([self.config.seed, step]))

    def _step(self, step: int, batch: Batch) -> dict[str, float]:
        rate = self.config.learning_rate(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # Dropout draws from torch's generator: seeding it by step lets a resumed run repeat it.
        torch.manual_seed(self.config.seed * 1_000_003 + step)
        losses = self._loss(batch, default_rng([self.config.seed, step, 1]))
        if not bool(torch.isfinite(losses["loss"])):
            ids = ", ".join(getattr(batch, "ids", ())[:5])
            raise InputError(
                f"step {step}: the loss is {losses['loss'].item()}; the batch holds {ids}. "
                f"The state of the last checkpoint is kept in {self.folder / 'state'}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._trained, self.config.optimiser.clip_norm)
        self.optimiser.step()
        values = {name: float(value.detach()) for name, value in losses.items()}
        return {**values, "gradient_norm": float(norm), "learning_rate": rate, "steps": 1.0}

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        row = {"step": step, **{name: round(value, 6) for name, value in metrics.items()}}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _save(self, step: int) -> None:
        new, state = self.folder / "state.new", self.folder / "state"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        save_file({k: v.contiguous() for k, v in self._trained_state().items()}, new / "model.safetensors")
        tensors = {
            f"{name}/{key}": value.contiguous()
            for name, parameter in self.model.named_parameters()
            for key, value in self.optimiser.state.get(parameter, {}).items()
        }
        save_file(tensors, new / "optimiser.safetensors")
        (new / "step.json").write_text(json.dumps({"step": step}))
        # Between the two renames a crash leaves no "state" but a whole "state.old".
        old = self.folder / "state.old"
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            state.rename(old)
        new.rename(state)
        shutil.rmtree(old, ignore_errors=True)

    def _trained_state(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}

    def _restore(self) -> int:
        state = self.folder / "state"
        if not state.exists() and (self.folder / "state.old").exists():
            (self.folder / "state.old").rename(state)
        if not state.exists():
            return 0
        weights = load_file(state / "model.safetensors")
        expected = self._trained_state()
        if weights.keys() != expected.keys() or any(
            weights[name].shape != value.shape for name, value in expected.items()
        ):
            raise InputError(f"{state}: the state is of another model; choose another output folder")
        for name, value in expected.items():
            value.copy_(weights[name])
        parameters = dict(self.model.named_parameters())
        for key, value in load_file(state / "optimiser.safetensors").items():
            name, _, kind = key.rpartition("/")
            self.optimiser.state[parameters[name]][kind] = value
        return int(json.loads((state / "step.json").read_text())["step"])
