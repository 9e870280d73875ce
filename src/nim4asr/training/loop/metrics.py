"""What a stage's training reports: a line of JSON each time, and TensorBoard's events beside it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nim4asr.files import append_line, parse_json, write_atomic

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
