"""``nim4 transcribe SOURCE --ray ADDRESS``: an archive on all cores of a machine or of a cluster."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nim4asr.cli.options import check_nbest_option, load_hotwords, load_recognizer
from nim4asr.cli.outputs import STDIN
from nim4asr.cli.progress import progress, progress_in_lines
from nim4asr.errors import InputError

if TYPE_CHECKING:
    from nim4asr.recognition.offline import Recognizer

PARQUET = "parquet"
# What the recognizer, and so the text, depends on.
_MODEL = (
    *("model", "runtime", "dtype", "vllm_python", "beams", "language", "nbest"),
    *("chunk_frames", "vad_threshold", "most_hints"),
)


def add_bulk_options(parser: argparse.ArgumentParser) -> None:
    """``--ray``, ``--workers``, ``--cpus-per-worker``, ``--gpus-per-worker``, ``--rows-per-shard``,
    ``--column``; None for what is not given.
    """
    group = parser.add_argument_group(
        "archives, by Ray",
        "AUDIO is one folder, manifest (JSON lines) or Parquet file; --output-dir gets shards\n"
        "of rows, in --format json (JSON lines) or parquet. The same command again goes on\n"
        "where it was stopped.",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="local: all cores of this machine; auto: the cluster that it is in; or its HOST:PORT",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="how many (default: as many as there is room for)"
    )
    group.add_argument(
        "--cpus-per-worker", type=float, metavar="N", help="cores that a worker takes (default: 1)"
    )
    group.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="N",
        help="GPUs that a worker takes, or a part such as 0.25 (default: 0)",
    )
    group.add_argument(
        "--rows-per-shard",
        type=int,
        metavar="N",
        help="audios a shard at most (default: 32, fewer in small jobs)",
    )
    group.add_argument("--column", metavar="NAME", help="where Parquet has paths or sound (default: audio)")


def check_no_bulk_options(options: argparse.Namespace, formats: Sequence[str]) -> None:
    """Raises ``InputError`` for what means nothing without ``--ray``."""
    names = ("workers", "cpus_per_worker", "gpus_per_worker", "rows_per_shard", "column")
    for name in names:
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} is about archives: add --ray ADDRESS")
    if PARQUET in formats:
        raise InputError("--format parquet is for archives: add --ray ADDRESS")


def run_bulk(options: argparse.Namespace, formats: Sequence[str]) -> int:
    """Do the job, or go on with it; audios that failed are named on stderr."""
    from nim4asr import bulk

    if len(options.audio) != 1 or options.audio[0] == STDIN:
        raise InputError("--ray takes one folder, manifest or Parquet file; make a manifest of several")
    if options.output_dir is None:
        raise InputError("--ray writes shards into a folder: add --output-dir DIR")
    if len(formats) > 1 or formats[0] not in ("json", PARQUET):
        raise InputError("--ray writes --format json or --format parquet, one of them")
    if options.skip_existing or options.summary is not None:
        name = "--skip-existing" if options.skip_existing else "--summary"
        raise InputError(
            f"{name} is not for --ray: what is done is never done again, and each row has its status"
        )
    check_nbest_option(options, ["json"])
    if options.hotwords is not None:
        # What is wrong with a list is told before anything begins.
        load_hotwords(options)
    cluster = bulk.Cluster(
        options.ray,
        options.workers,
        1.0 if options.cpus_per_worker is None else options.cpus_per_worker,
        options.gpus_per_worker or 0.0,
    )
    listening = bulk.Listening(
        load=_Model(_on_workers(options, cluster)),
        hotwords=options.hotwords,
        hints=tuple(options.hint),
        gain=options.gain,
        channels=options.channels,
        digits=options.itn,
    )
    summary = bulk.transcribe(
        options.audio[0],
        options.output_dir,
        listening=listening,
        cluster=cluster,
        format="parquet" if formats[0] == PARQUET else "json",
        column=options.column or "audio",
        rows_per_shard=options.rows_per_shard,
        progress=progress if sys.stderr.isatty() else progress_in_lines,
    )
    for error in summary.failed.values():
        print(f"nim4: {error}", file=sys.stderr)
    print(
        f"nim4: {summary.done} of {summary.audios} audios are done, {summary.before} of them before; "
        f"{summary.duration_s / 3600:.2f} hours of sound, {summary.computing_s / 3600:.2f} of recognition; "
        f"the rows are in {options.output_dir}",
        file=sys.stderr,
    )
    return 1 if summary.failed else 0


def _on_workers(options: argparse.Namespace, cluster: Any) -> dict[str, Any]:
    """The options as they hold on the workers' machines, whose folder is another."""
    given = dict(vars(options))
    # A function of this program, which no worker calls.
    given.pop("run", None)
    if options.model is not None and Path(options.model).exists():
        given["model"] = os.path.abspath(options.model)
    if options.threads is None and not cluster.gpus_per_worker:
        given["threads"] = max(1, int(cluster.cpus_per_worker))
    return given


@dataclass(frozen=True)
class _Model:
    """Loads on a worker what the options ask for."""

    options: dict[str, Any]

    def __call__(self) -> "Recognizer":
        return load_recognizer(argparse.Namespace(**self.options))

    def __repr__(self) -> str:
        # What a job that goes on must have in common with itself.
        given = {name: self.options[name] for name in _MODEL if self.options.get(name) is not None}
        return ", ".join(f"{name}={value}" for name, value in given.items()) or "the bundled model"
