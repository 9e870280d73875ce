"""What a stage's training reports: a line of JSON each time, and TensorBoard's events beside it."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nim4asr.files import append_line, parse_json, write_atomic
from nim4asr.training.loop.objective import LossTerms

if TYPE_CHECKING:
    from accelerate import Accelerator

LOG = "log.jsonl"


class MetricsLog:
    """The metrics of one stage, in ``folder``. Rows past ``start``, of a run that was cut, are taken out."""

    def __init__(self, folder: Path, start: int = 0) -> None:
        self._path = folder / LOG
        rows = [row for row in read_log(folder) if row["step"] <= start]
        write_atomic(self._path, "".join(map(_line, rows)))
        self._tensorboard_writer = _tensorboard(folder, start)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of ``step``."""
        row = {"step": step, **{name: round(value, 6) for name, value in metrics.items()}}
        append_line(self._path, _line(row))
        if self._tensorboard_writer is not None:
            for name, value in metrics.items():
                self._tensorboard_writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Let TensorBoard's events reach the disk."""
        if self._tensorboard_writer is not None:
            self._tensorboard_writer.close()


class MetricAccumulator:
    """What has been measured since the last line of the log."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._parts: dict[str, list[float]] = {}
        self._weights: dict[str, float] = {}
        self._norms: list[float] = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Time from now on: what evaluation takes is no step's time."""
        self._began, self.waited, self._timed = time.monotonic(), 0.0, 0

    def add(self, losses: LossTerms) -> None:
        """Add the loss terms of a batch."""
        for name, part in losses.items():
            sums = self._parts.setdefault(name, [0.0, 0.0])
            sums[0] += float(part.total.detach())
            sums[1] += float(part.count)
            self._weights[name] = part.weight

    def add_norm(self, norm: Tensor | float | None) -> None:
        """Count a step, with its gradient norm if it is known."""
        self._timed += 1
        if norm is not None:
            self._norms.append(float(norm))

    def take(self, accelerator: "Accelerator", learning_rate: float) -> dict[str, float]:
        """The means over all processes since the last call."""
        sums = torch.tensor(list(self._parts.values()), dtype=torch.float64, device="cpu").float()
        total = accelerator.reduce(sums.to(accelerator.device), reduction="sum").tolist()
        means = {
            name: s / max(n, 1e-9) if n else 0.0 for name, (s, n) in zip(self._parts, total, strict=True)
        }
        elapsed = max(time.monotonic() - self._began, 1e-9)
        metrics = {
            "loss": sum(self._weights[name] * value for name, value in means.items()),
            **({} if len(means) == 1 else means),
            "learning_rate": learning_rate,
            "seconds_per_step": elapsed / max(1, self._timed),
            # Waiting for data; a run that reads too slowly shows it here.
            "waiting_share": self.waited / elapsed,
        }
        if self._norms:
            metrics["gradient_norm"] = sum(self._norms) / len(self._norms)
        self._clear()
        return metrics


def read_log(folder: Path, name: str = LOG) -> Iterator[dict[str, Any]]:
    """The rows of the stage in ``folder``, oldest first; none if it has not begun. A torn last line is left
    out.
    """
    path = folder / name
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = parse_json(line.decode("utf-8"))
        except ValueError:
            continue
        if isinstance(row, dict) and type(row.get("step")) is int:
            yield {name: value for name, value in row.items() if isinstance(value, int | float)}


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(row) + "\n"


def _tensorboard(folder: Path, start: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start)
