"""The loop every stage shares: schedule, clipping, log, evaluation, checkpoints, restart.

Processes, devices and precision are Hugging Face Accelerate's: started by ``accelerate launch``, the same
stage runs data-parallel (DDP), sharded (FSDP) or under DeepSpeed. A stage's folder holds ``log.jsonl`` (a
line of metrics each) and ``state-STEP`` folders: weights, optimizer state and step, each written beside its
place and renamed when whole. A stage that finds a state resumes from the newest with the same batches.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import torch
from numpy.random import Generator, default_rng
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nim4asr.data.batches import Prefetcher
from nim4asr.errors import InputError
from nim4asr.training.loop.distributed import agreed, is_sharded, new_accelerator
from nim4asr.training.loop.metrics import MetricAccumulator, MetricsLog
from nim4asr.training.loop.objective import Batch, LossTerms, Objective
from nim4asr.training.loop.optimizer import OptimizerConfig, build_optimizer
from nim4asr.training.loop.states import States

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class LoopConfig:
    """How long a stage runs, in optimizer steps."""

    steps: int
    optimizer: OptimizerConfig
    warmup_steps: int = 100
    """The learning rate rises linearly over these."""
    hold_steps: int = 0
    """It is held at its peak until this step, and then falls as a cosine."""
    final_lr_ratio: float = 0.0
    """To this part of the peak, at the last step."""
    accumulation_steps: int = 1
    """A step adds up the gradients of so many batches of every process."""
    seed: int = 0
    log_every: int = 20
    """Losses are logged after so many steps."""
    evaluate_every: int = 500
    """Dev metrics are taken after so many steps, and after the last."""
    checkpoint_every: int = 250
    """A state is saved after so many steps, and after the last."""
    keep_states: int = 2
    """The last so many states stay on disk."""
    data_workers: int = 0
    """Processes that make batches ahead; 0 leaves it to a thread."""

    def __post_init__(self) -> None:
        if min(self.steps, self.accumulation_steps, self.log_every, self.evaluate_every) < 1:
            raise ValueError("steps, accumulation_steps and the intervals must be at least 1")
        if self.checkpoint_every < 1 or self.keep_states < 1:
            raise ValueError("a run needs a checkpoint now and then, and keeps at least one")

    def learning_rate(self, step: int) -> float:
        """The learning rate of the step ``step``, counted from 0."""
        peak = self.optimizer.peak_lr
        if step < self.warmup_steps:
            return peak * (step + 1) / self.warmup_steps
        top = max(self.warmup_steps, self.hold_steps)
        done = max(0.0, (step - top) / max(1, self.steps - top))
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return peak * (self.final_lr_ratio + (1 - self.final_lr_ratio) * share)


class Loop(Generic[Batch]):
    """Trains what requires gradients in ``objective``, in place.

    ``make_batch(number, random)`` runs ahead of the step, in a thread or in processes; ``evaluate()`` returns
    dev metrics, and runs on the main process alone.
    """

    def __init__(
        self,
        folder: Path,
        objective: Objective[Batch],
        config: LoopConfig,
        make_batch: Callable[[int, Generator], Batch],
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        progress: Callable[[Iterator[int], int], Iterator[int]] | None = None,
        accelerator: "Accelerator | None" = None,
    ) -> None:
        self.folder, self.objective, self.config = folder, objective, config
        self._make_batch, self._evaluate = make_batch, evaluate
        self._progress = progress or (lambda steps, start: steps)
        self.accelerator = accelerator or new_accelerator()
        # Where activations are multiplied in bfloat16, so are Muon's matrices: 32 bits were an eighth of a
        # step.
        products = torch.bfloat16 if self.accelerator.mixed_precision == "bf16" else torch.float32
        self.optimizer = build_optimizer(objective.named_parameters(), config.optimizer, products)
        self._trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
        self._states = States(folder, self._trained, self.optimizer, self.accelerator, config.keep_states)

    def run(self, pause: Callable[[int], bool] | None = None) -> int:
        """Train to the last step, from the newest state if the folder holds one; returns the steps done.

        ``pause(done)`` is asked after every step; if it says so on the main process, the state is saved and
        the run ends there and can be resumed. Raises ``InputError`` if the loss is no number or the
        disk is full; the states saved before stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.objective.open()
        self._wrapped, self._stepper = self._prepare()
        try:
            return self._run(self._states.restore(), pause)
        finally:
            # So that the next stage's loop does not save, clip or wrap this one's.
            self.accelerator.free_memory()
            self.objective.close()

    def _prepare(self) -> tuple[Any, Any]:
        accelerator, config = self.accelerator, self.config
        if is_sharded(accelerator) and config.optimizer.muon:
            raise InputError(
                "Muon needs whole matrices; set muon=False in the recipe under FSDP and DeepSpeed"
            )
        accelerator.gradient_accumulation_steps = config.accumulation_steps
        plugin = accelerator.state.deepspeed_plugin
        if plugin is not None:
            # DeepSpeed accumulates and clips by itself. It needs the number of items in a batch only for
            # its log.
            plugin.deepspeed_config |= {
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": config.accumulation_steps,
                "gradient_clipping": config.optimizer.clip_norm,
            }
            # Every state holds whole weights too.
            plugin.deepspeed_config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True
        wrapped, stepper = accelerator.prepare(self.objective, self.optimizer)
        return wrapped, stepper

    def _run(self, start: int, pause: Callable[[int], bool] | None) -> int:
        config = self.config
        if start >= config.steps:
            return start
        log = MetricsLog(self.folder, start) if self.accelerator.is_main_process else None
        sums = MetricAccumulator()
        batches = iter(self._batches(start))
        self._wrapped.train()
        done = start
        for step in self._progress(iter(range(start, config.steps)), start):
            self._step(step, batches, sums)
            done = step + 1
            last = done == config.steps
            paused = not last and pause is not None and agreed(self.accelerator, pause(done))
            if done % config.log_every == 0 or last or paused:
                metrics = sums.take(self.accelerator, config.learning_rate(step))
                if log:
                    log.write(done, metrics)
            if self._evaluate and (done % config.evaluate_every == 0 or last):
                if log:
                    self._wrapped.eval()
                    with torch.no_grad():
                        log.write(done, self._evaluate())
                    self._wrapped.train()
                self.accelerator.wait_for_everyone()
                sums.restart_clock()
            if done % config.checkpoint_every == 0 or last or paused:
                self._states.save(done, self._wrapped)
            if paused:
                break
        if log:
            log.close()
        return done

    def _batches(self, start: int) -> Iterable[tuple[int, Batch]]:
        config, accelerator = self.config, self.accelerator
        first, last = start * config.accumulation_steps, config.steps * config.accumulation_steps
        world, rank = accelerator.num_processes, accelerator.process_index
        numbers = range(first * world + rank, last * world, world)
        made = BatchDataset(self._make_batch, config.seed, numbers)
        if not config.data_workers:
            return Prefetcher(made[i] for i in range(len(numbers)))
        return DataLoader(made, batch_size=None, num_workers=config.data_workers, prefetch_factor=4)

    def _step(self, step: int, batches: Iterator[tuple[int, Batch]], sums: MetricAccumulator) -> None:
        config, accelerator = self.config, self.accelerator
        rate = config.learning_rate(step)
        for group in self._stepper.param_groups:
            group["lr"] = rate
        for _ in range(config.accumulation_steps):
            asked = time.monotonic()
            number, batch = next(batches)
            sums.waited += time.monotonic() - asked
            batch = _moved(batch, accelerator.device)
            # Dropout draws from torch's generator: seeding it by the batch lets a resumed run repeat it.
            torch.manual_seed(config.seed * 1_000_003 + number)
            with torch.no_grad():
                turn = number // accelerator.num_processes
                batch = self.objective.prepare(batch, turn, default_rng([config.seed, number, 2]))
            with accelerator.accumulate(self._wrapped):
                losses = self._wrapped(batch, default_rng([config.seed, number, 1]))
                accelerator.backward(self._joint_loss(losses, step, batch))
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(
                        list(self._trained.values()), config.optimizer.clip_norm
                    )
                    sums.add_norm(norm)
                self._stepper.step()
                self._stepper.zero_grad(set_to_none=True)
            sums.add(losses)

    def _joint_loss(self, losses: LossTerms, step: int, batch: Batch) -> Tensor:
        """One process's share of the loss over the batches of all: gradients are averaged over processes."""
        local = torch.stack(
            [torch.as_tensor(float(part.count), device=self.accelerator.device) for part in losses.values()]
            + [sum(part.total.detach().float() for part in losses.values())]  # type: ignore[list-item]
        )
        joint: Tensor = self.accelerator.reduce(local, reduction="sum")
        if not bool(torch.isfinite(joint[-1])):
            ids = ", ".join(getattr(batch, "ids", ())[:5])
            where = f"the batch holds {ids}" if not bool(torch.isfinite(local[-1])) else "in another process"
            raise InputError(
                f"step {step}: the loss is {float(joint[-1])}; {where}. "
                f"The states of the last checkpoints are kept in {self.folder}"
            )
        world = self.accelerator.num_processes
        terms = [
            part.weight * world * part.total / joint[i].clamp(min=1)
            for i, part in enumerate(losses.values())
            if part.weight
        ]
        total: Tensor = sum(terms[1:], start=terms[0])
        return total


def _moved(batch: Any, device: torch.device) -> Any:
    return batch.to(device) if hasattr(batch, "to") else batch


class BatchDataset(Dataset[tuple[int, Any]]):
    """Batches by their place in a run, for a ``DataLoader``'s processes."""

    def __init__(self, make_batch: Callable[[int, Generator], Any], seed: int, numbers: range) -> None:
        self._make_batch, self._seed, self._numbers = make_batch, seed, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> tuple[int, Any]:
        number = self._numbers[place]
        return number, self._make_batch(number, default_rng([self._seed, number]))
