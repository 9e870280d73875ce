"""Which audios are in which shard, decided once: whoever does one, how often, writes the same rows."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from nim4asr.bulk.shards import OutputFolder, Row
from nim4asr.bulk.sources import BulkAudio
from nim4asr.errors import InputError
from nim4asr.files import append_line, mended_log, parse_json, write_atomic

# A shard is so small that a worker is not long alone with the last one.
_MOST_ROWS, _MOST_BYTES = 32, 128 * 1024 * 1024
_SHARDS_PER_WORKER = 4
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Task:
    """The audios of a shard that are to be heard."""

    shard: str
    audios: tuple[BulkAudio, ...]

    def to_json(self) -> str:
        """The task as it is sent to a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """The task that a worker is sent."""
        row = json.loads(text)
        return cls(row["shard"], tuple(BulkAudio(**audio) for audio in row["audios"]))


@dataclass(frozen=True)
class Report:
    """What became of a shard: how many audios are ``done``, the keys and errors of those that ``failed``,
    seconds of sound and of recognition.
    """

    shard: str
    done: int
    failed: Mapping[str, str]
    duration_s: float
    computing_s: float

    @classmethod
    def of(cls, shard: str, rows: Iterable[Row]) -> "Report":
        """Of the rows of a shard."""
        rows = list(rows)
        done = [row for row in rows if row["status"] == "done"]
        return cls(
            shard,
            len(done),
            {row["key"]: row["error"] for row in rows if row["status"] != "done"},
            sum(row["duration"] for row in done),
            sum(row["duration"] * row["real_time_factor"] for row in done),
        )

    def to_json(self) -> str:
        """The report as a worker sends it, and as the log has it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that a worker sent. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for others."""
        return cls(**parse_json(text))


@dataclass
class Plan:
    """The shards of a job by their names, each with the keys of its audios, and the reports of those that are
    whole.
    """

    output: OutputFolder
    shards: dict[str, list[str]] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shards = dict(_read(self._plan_log, _shard))
        known = {report.shard: report for report in _read(self._report_log, Report.from_json)}
        for shard in self.shards:
            if self.output.shard(shard).exists():
                # What was finished in the moment of a kill has no report.
                self.reports[shard] = known.get(shard) or Report.of(shard, self.output.read(shard))

    @property
    def keys(self) -> set[str]:
        """The keys of all audios that have a shard."""
        return {key for keys in self.shards.values() for key in keys}

    def extend(self, audios: Sequence[BulkAudio], workers: int, rows_per_shard: int | None) -> None:
        """Give a shard to those ``audios`` that have none. Raises ``InputError`` if it cannot be written."""
        known = self.keys
        new = [audio for audio in audios if audio.key not in known]
        most = rows_per_shard or min(_MOST_ROWS, max(1, len(new) // (_SHARDS_PER_WORKER * workers)))
        for group in _groups(new, most):
            self.shards[f"part-{len(self.shards):06d}"] = [audio.key for audio in group]
        if new:
            rows = ({"shard": shard, "keys": keys} for shard, keys in self.shards.items())
            write_atomic(self._plan_log, "".join(json.dumps(row) + "\n" for row in rows))

    def left(self, audios: Sequence[BulkAudio]) -> Iterator[Task]:
        """What is to be done: shards that are not whole, and audios that failed."""
        by_key = {audio.key: audio for audio in audios}
        for shard, keys in self.shards.items():
            report = self.reports.get(shard)
            wanted = keys if report is None else report.failed
            # What has gone from the source since is left out.
            if there := tuple(by_key[key] for key in wanted if key in by_key):
                yield Task(shard, there)

    def finish(self, report: Report) -> None:
        """A shard is whole. Raises ``InputError`` as ``append_line`` does."""
        self.reports[report.shard] = report
        append_line(self._report_log, report.to_json() + "\n")

    @property
    def _plan_log(self) -> Path:
        return self.output.state / "plan.jsonl"

    @property
    def _report_log(self) -> Path:
        return self.output.state / "reports.jsonl"


def _shard(line: str) -> tuple[str, list[str]]:
    row = parse_json(line)
    return str(row["shard"]), list(row["keys"])


def _read(path: Path, parse: Callable[[str], Entry]) -> list[Entry]:
    """What the lines of a log hold; nothing if there is none yet."""
    lines = mended_log(path, "log of a job").splitlines()
    try:
        return list(map(parse, lines))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: this is no log of a job; begin in another folder") from None


def _groups(audios: Sequence[BulkAudio], most_rows: int) -> Iterator[list[BulkAudio]]:
    group: list[BulkAudio] = []
    size = 0
    for audio in audios:
        if group and (len(group) >= most_rows or size + audio.size > _MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(audio)
        size += audio.size
    if group:
        yield group
