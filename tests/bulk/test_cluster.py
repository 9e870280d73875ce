"""Bulk jobs on Ray: workers and the job itself are killed in the middle, and the rows are the same."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from conftest import CLIP_FOLDER
from nim4asr.cli.main import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray"),
    # Ray's own.
    pytest.mark.filterwarnings("ignore"),
]
ROOT = Path(__file__).parents[2]
COPIES, ROWS_PER_SHARD = 5, 7
Rows = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty clips in two folders, and a file that is none."""
    folder = tmp_path_factory.mktemp("archive")
    for clip in sorted(CLIP_FOLDER.glob("*.flac")):
        for copy in range(COPIES):
            place = folder / clip.stem[:2] / f"{clip.stem}-{copy}.flac"
            place.parent.mkdir(exist_ok=True)
            shutil.copy(clip, place)
    (folder / "zh" / "damaged.wav").write_bytes(b"RIFF\x00\x00 this is no sound")
    return folder


@pytest.fixture(scope="module")
def plain(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What nim4 transcribe writes without Ray, by the audio."""
    out = tmp_path_factory.mktemp("plain")
    arguments = ["transcribe", str(archive), "--recursive", "--format", "json", "--output-dir", str(out)]
    assert main(arguments) == 1
    found = [json.loads(path.read_text()) for path in out.rglob("*.json")]
    assert len(found) == 4 * COPIES
    return {row["audio"]: without_time(row) for row in found}


@pytest.fixture(scope="module", autouse=True)
def _token() -> Iterator[None]:
    """What lets this test alone into its clusters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two cores."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    # Names of sockets are short.
    folder = tempfile.mkdtemp(prefix="nim4-")
    command: list[Any] = [
        Path(sys.executable).with_name("ray"),
        "start",
        "--head",
        "--block",
        "--num-cpus",
        "2",
    ]
    command += [
        "--port",
        str(port),
        "--min-worker-port",
        "0",
        "--max-worker-port",
        "0",
        "--include-dashboard",
        "false",
    ]
    command += ["--object-store-memory", str(200 * 1024 * 1024), "--temp-dir", folder]
    cluster = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert cluster.stdout is not None
    try:
        told = []
        for line in cluster.stdout:
            told.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("".join(told))
        (machine,) = re.findall(r"Local node IP: (\S+)", "".join(told))
        yield f"{machine}:{port}"
    finally:
        cluster.terminate()
        cluster.communicate(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def job(archive: Path, out: Path, address: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "nim4asr", "transcribe", archive, "--ray", address, "--output-dir", out]
    command += ["--rows-per-shard", str(ROWS_PER_SHARD)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> str:
    """What the job has told. It ends with 1: a file is damaged."""
    told = process.communicate(timeout=300)[1]
    assert process.returncode == 1, told
    assert "damaged.wav: " in told and "20 of 21 audios are done" in told
    return told


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in out.glob("part-*.jsonl") for line in path.read_text().splitlines()]


def without_time(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "real_time_factor"}


def check(out: Path, plain: Rows) -> None:
    """A row an audio, each as without Ray."""
    found = rows(out)
    assert len(found) == len({row["key"] for row in found}) == 4 * COPIES + 1
    (failed,) = (row for row in found if row["status"] == "failed")
    assert failed["key"] == "zh/damaged.wav" and failed["error"] and "text" not in failed
    done = {row["audio"]: without_time(row) for row in found if row["status"] == "done"}
    added = {audio: (row.pop("key"), row.pop("status")) for audio, row in done.items()}
    assert done == plain and all(audio.endswith(key) for audio, (key, _) in added.items())
    assert not list((out / "_job/under_way").iterdir())


def rows_under_way(out: Path) -> dict[int, list[dict[str, Any]]]:
    """The rows in the logs of shards that are not whole, by the process that writes them."""
    found: dict[int, list[dict[str, Any]]] = {}
    for log in (out / "_job/under_way").glob("*.jsonl"):
        entries = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
        process = int(log.stem.split("-")[-2])
        found.setdefault(process, []).extend(entry["row"] for entry in entries if "row" in entry)
    return found


def when(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
    """Wait until it is true, while the job is at work."""
    while not (found := condition()):
        assert process.poll() is None, "the job has ended before"
        time.sleep(0.005)
    return found


def test_an_undisturbed_job(archive: Path, plain: Rows, address: str, tmp_path: Path) -> None:
    assert "0 of them before" in ended(job(archive, tmp_path, address))
    check(tmp_path, plain)
    assert len(list(tmp_path.glob("part-*"))) == 3


def test_killed_workers_change_nothing_but_time(
    archive: Path, plain: Rows, address: str, tmp_path: Path
) -> None:
    process = job(archive, tmp_path, address)
    killed: set[int] = set()
    kept: list[dict[str, Any]] = []
    while len(killed) < 2:

        def busy() -> list[int]:
            found = rows_under_way(tmp_path)
            return [one for one, its in found.items() if its and one not in killed]

        worker = when(busy, process)[0]
        os.kill(worker, signal.SIGKILL)
        killed.add(worker)
        kept += rows_under_way(tmp_path).get(worker, [])
        assert len(kept) < 4 * COPIES + 1
    ended(process)
    check(tmp_path, plain)
    # With the time that each took: none of those was done again.
    assert kept and all(row in rows(tmp_path) for row in kept)


def test_a_killed_job_goes_on(
    archive: Path, plain: Rows, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = job(archive, tmp_path, address)
    when(lambda: any(rows_under_way(tmp_path).values()), process)
    process.kill()
    process.communicate()
    known = [*rows(tmp_path), *(row for its in rows_under_way(tmp_path).values() for row in its)]
    assert 0 < len(known) < 4 * COPIES + 1
    # At once: workers of the last run may still be at work.
    ended(job(archive, tmp_path, address))
    check(tmp_path, plain)
    assert all(row in rows(tmp_path) for row in known if row["status"] == "done")
    # Nothing is left but what is damaged; the cluster is the one that this machine is in.
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert "20 of them before" in ended(job(archive, tmp_path, "auto"))
    check(tmp_path, plain)


def test_by_python_on_this_machine_from_parquet_to_parquet(
    archive: Path, plain: Rows, tmp_path: Path
) -> None:
    import pyarrow as arrow
    import pyarrow.dataset
    import pyarrow.parquet as parquet

    from nim4asr import bulk

    clips = sorted(archive.glob("*/*-0.flac"))
    sound = [{"bytes": clip.read_bytes(), "path": str(clip)} for clip in clips]
    parquet.write_table(arrow.table({"audio": sound}), tmp_path / "clips.parquet")
    summary = bulk.transcribe(
        tmp_path / "clips.parquet", tmp_path / "out", cluster=bulk.Cluster(workers=2), format="parquet"
    )
    assert (summary.audios, summary.done, summary.failed) == (4, 4, {})
    table = pyarrow.dataset.dataset(tmp_path / "out").to_table()
    found = {row["audio"]: row["text"] for row in table.to_pylist()}
    assert found == {str(clip): plain[str(clip)]["text"] for clip in clips}


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/bulk.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    exec(compile(example, "docs/bulk.md", "exec"), {})
    assert capsys.readouterr().out.startswith("8 of 8")
