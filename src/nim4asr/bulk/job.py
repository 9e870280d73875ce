"""A bulk job: what is left of it is given to workers, and counted."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nim4asr.bulk.cluster import Cluster, Pool
from nim4asr.bulk.plan import Plan, Report
from nim4asr.bulk.shards import SHARD_FORMATS, OutputFolder, ShardFormat
from nim4asr.bulk.sources import BulkAudio, read_audios
from nim4asr.bulk.worker import Listener, Listening, Worker
from nim4asr.errors import InputError
from nim4asr.files import locked, parse_json, read_text, write_atomic, writing
from nim4asr.progress import ProgressReporter, no_progress


class _Connects(Protocol):
    def connected(self) -> AbstractContextManager[Pool]:
        """The workers, while the block lasts."""


@dataclass(frozen=True)
class Summary:
    """How a job has ended: of its ``audios``, how many are ``done``, and the errors of those that ``failed``,
    by their keys. ``before`` were done by earlier runs; the seconds of sound and of recognition are of all.
    """

    audios: int
    done: int
    failed: dict[str, str]
    before: int
    duration_s: float
    computing_s: float


def transcribe(
    source: str | Path,
    output: str | Path,
    *,
    listening: Listening | None = None,
    cluster: _Connects | None = None,
    format: ShardFormat = "json",
    column: str = "audio",
    rows_per_shard: int | None = None,
    progress: ProgressReporter = no_progress,
) -> Summary:
    """Write down all audios of ``source``, as ``nim4asr.bulk.sources.read_audios`` takes it with ``column``,
    in shards in the folder ``output``, a row an audio: JSON lines, or Parquet for the ``format``
    ``"parquet"``.

    Run again, it goes on: what is done is not done again, whatever was killed; what failed is. Both
    ``source`` and ``output`` must be there, by the same paths, on all machines of the ``cluster``, by
    default this one alone. ``progress`` counts audios, a shard at a time; ``rows_per_shard`` are at most 32
    unless told. An audio that cannot be read is a row with its error. Raises ``InputError`` if nothing can
    be read or written, if another job is at work in ``output``, or if it holds one of another source or with
    other settings.
    """
    listening = listening or Listening()
    if format not in SHARD_FORMATS:
        raise InputError(f"a bulk job writes {' or '.join(SHARD_FORMATS)}, not {format!r}")
    if rows_per_shard is not None and rows_per_shard < 1:
        raise InputError(f"a shard holds at least one row, not {rows_per_shard}")
    audios = read_audios(source, column)
    place = OutputFolder(Path(os.path.abspath(output)), format)
    with writing(place.state):
        place.state.mkdir(parents=True, exist_ok=True)
    description = place.state / "job.json"
    with locked(description, f"{output}: another job is at work in this folder; wait until it has ended"):
        _settle(
            description,
            {"source": os.path.abspath(source), "format": format, "column": column, **listening.settings},
        )
        plan = Plan(place)
        keys = {audio.key for audio in audios}
        before = sum(report.done for report in plan.reports.values())
        if keys - plan.keys or any(plan.left(audios)):
            with (cluster or Cluster()).connected() as pool:
                plan.extend(audios, pool.workers, rows_per_shard)
                work = Worker(Listener(listening), place, secrets.token_hex(6))
                outcomes = _outcomes(plan, audios, pool, work)
                for _ in progress(outcomes, "transcribing", total=len(plan.keys), done=before):
                    pass
        place.tidy()
    return _summary(plan.reports.values(), before)


def _outcomes(plan: Plan, audios: list[BulkAudio], pool: Pool, work: Worker) -> Iterator[str]:
    """The keys of audios as their shards are finished."""
    known = {shard: report.done for shard, report in plan.reports.items()}
    for report in pool.reports(work, list(plan.left(audios))):
        plan.finish(report)
        keys = plan.shards[report.shard]
        # Those that were done before have been counted.
        yield from keys[known.get(report.shard, 0) :]


def _settle(path: Path, job: dict[str, Any]) -> None:
    """Write down what a job is, or compare it with what was begun in this folder."""
    text = json.dumps(job, indent=1)
    if not path.exists():
        write_atomic(path, text + "\n")
        return
    try:
        begun = parse_json(read_text(path, "description of a job"))
        other = [name for name, value in json.loads(text).items() if begun[name] != value]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: this is no description of a job; begin in another folder") from None
    if other:
        raise InputError(
            f"{path.parent.parent}: this folder holds a job with another {' and '.join(other)}; choose "
            "another folder"
        )


def _summary(reports: Any, before: int) -> Summary:
    found: list[Report] = list(reports)
    failed = {key: error for report in found for key, error in report.failed.items()}
    done = sum(report.done for report in found)
    return Summary(
        audios=done + len(failed),
        done=done,
        failed=failed,
        before=before,
        duration_s=sum(report.duration_s for report in found),
        computing_s=sum(report.computing_s for report in found),
    )
