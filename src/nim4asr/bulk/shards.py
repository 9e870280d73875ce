"""The rows of a job on disk: shards, whole or not there, and logs of those that are under way.

A worker adds each row to a log of its own before it begins the next, so that whoever goes on with a shard,
after the worker or the whole job was killed, does no row again. When all rows are there they become the
shard, under its own name, and the logs go. Two workers at one shard, as there may be when a job is begun
again while a worker of the last run has not ended yet, have two logs and write the same shard.
"""

import json
import os
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nim4asr.errors import InputError
from nim4asr.files import append_line, atomic_file, is_unicode, parse_json, reason, remove_half_written

# One audio's outcome as JSON: ``key``, ``audio``, ``status`` ("done" or "failed"), and its transcript or
# ``error``.
Row = Mapping[str, Any]
ShardFormat = Literal["json", "parquet"]
SHARD_FORMATS: Mapping[ShardFormat, str] = {"json": "jsonl", "parquet": "parquet"}
# What is no row is in folders that readers of data sets pass over.
_STATE = "_job"


@dataclass(frozen=True)
class OutputFolder:
    """Where a job's rows are: shards in ``folder``, and in its ``_job`` what the job needs to go on."""

    folder: Path
    format: ShardFormat = "json"

    @property
    def state(self) -> Path:
        """The folder of the job's own files."""
        return self.folder / _STATE

    def shard(self, name: str) -> Path:
        """The file of a shard."""
        return self.folder / f"{name}.{SHARD_FORMATS[self.format]}"

    def read(self, name: str) -> list[Row]:
        """The rows of a shard; none if it is not there yet. Raises ``InputError`` if it cannot be read."""
        path = self.shard(name)
        if not path.exists():
            return []
        try:
            return _PARTS[self.format][1](path)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: cannot be read ({reason(error)}); remove it to do it again") from None

    def write(self, name: str, rows: Sequence[Row]) -> None:
        """Write a shard. Raises ``InputError`` if it cannot be written."""
        _PARTS[self.format][0](self.shard(name), rows)

    def logs(self, name: str) -> list[Path]:
        """The logs of a shard that is under way."""
        return sorted(self._logs.glob(f"{name}.*.jsonl"))

    def new_log(self, name: str) -> Path:
        """A log for this process alone; its name tells who writes it."""
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._logs / f"{name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"

    def tidy(self) -> None:
        """Take away what workers that were killed have left, when no worker is at work any more."""
        remove_half_written(self.folder)
        for log in self._logs.glob("*.jsonl"):
            if self.shard(log.name.partition(".")[0]).exists():
                _remove(log)

    @property
    def _logs(self) -> Path:
        return self.state / "under_way"


@dataclass
class UnderWay:
    """What is known of a shard that is not whole: its ``rows`` by their keys, and how often this ``run`` has
    begun an audio without an end.
    """

    output: OutputFolder
    shard: str
    run: str
    rows: dict[str, Row] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    _failed: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        for row in self.output.read(self.shard):
            self._take(row, "")
            if row["status"] != "done":
                self._failed.append(row)
        for log in self.output.logs(self.shard):
            for entry in _entries(log):
                if "row" in entry:
                    self._take(entry["row"], entry["run"])
                elif entry["run"] == self.run:
                    self.begun[entry["begun"]] += 1
        self._log = self.output.new_log(self.shard)

    def begin(self, key: str) -> None:
        """An audio is begun. Raises ``InputError`` as ``append_line`` does."""
        self._append({"begun": key})

    def add(self, row: Row) -> None:
        """An audio has ended. Raises ``InputError`` as ``append_line`` does."""
        self._append({"row": row})
        self.rows[row["key"]] = row

    def close(self) -> None:
        """Make the shard of the rows; the logs go."""
        # What failed in an earlier run, and has gone from the source since.
        for row in self._failed:
            self.rows.setdefault(row["key"], row)
        self.output.write(self.shard, list(self.rows.values()))
        for log in self.output.logs(self.shard):
            _remove(log)

    def _take(self, row: Row, run: str) -> None:
        # What failed in an earlier run is done again: a disk may have been away.
        if row["status"] == "done" or run == self.run:
            self.rows.setdefault(row["key"], row)

    def _append(self, entry: Mapping[str, Any]) -> None:
        append_line(self._log, as_line({**entry, "run": self.run}))


def as_line(row: Row) -> str:
    """A row as a line of JSON. A path may hold bytes that are no text: those are escaped."""
    text = json.dumps(row, ensure_ascii=False)
    return (text if is_unicode(text) else json.dumps(row)) + "\n"


def _entries(log: Path) -> Iterable[dict[str, Any]]:
    """The whole lines of a log; the last one may be torn, or being written."""
    try:
        data = log.read_bytes()
    except OSError:
        # Its shard has just been finished by another.
        return
    for line in data.split(b"\n")[:-1]:
        with suppress(ValueError):
            yield parse_json(line.decode("utf-8"))


def _remove(log: Path) -> None:
    with suppress(OSError):
        log.unlink()


def _write_json(path: Path, rows: Sequence[Row]) -> None:
    with atomic_file(path, "w") as file:
        file.writelines(map(as_line, rows))


def _read_json(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return [parse_json(line) for line in lines if line]


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    text, number = arrow.string(), arrow.float64()
    kinds = {
        "key": text, "audio": text, "status": text, "error": text, "duration": number, "text": text,
        "language": text, "real_time_factor": number, "warnings": arrow.list_(text),
    }  # fmt: skip
    columns = {name: [_storable(row.get(name)) for row in rows] for name in kinds}
    columns["json"] = [as_line(row).rstrip("\n") for row in rows]
    schema = arrow.schema({**kinds, "json": text})
    with atomic_file(path, "wb") as file:
        parquet.write_table(arrow.table(columns, schema=schema), file)


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow.parquet as parquet

    # ``ParquetFile`` and not ``read_table``: that would take names of folders for columns.
    table = parquet.ParquetFile(path).read(columns=["json"])
    return [parse_json(text) for text in table.column("json").to_pylist()]


def _storable(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_storable, value))
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


_PARTS = {"json": (_write_json, _read_json), "parquet": (_write_parquet, _read_parquet)}
