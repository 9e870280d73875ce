import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nim4asr.processes import parallel_map


def place(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_results_come_in_order_from_other_processes() -> None:
    numbers, processes = zip(*parallel_map(place, range(9), 2, chunk=2), strict=True)
    assert numbers == tuple(range(9))
    assert os.getpid() not in processes


def test_what_is_not_worth_a_process_is_done_here() -> None:
    for items, workers, chunk in ((range(9), 1, 2), (range(2), 2, 2), (range(0), None, 1)):
        assert list(parallel_map(place, items, workers, chunk)) == [(n, os.getpid()) for n in items]


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), ImportError("no sem_open")])
def test_without_shared_memory_all_is_done_here(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", none)
    assert list(parallel_map(place, range(9), 2, 2)) == [(n, os.getpid()) for n in range(9)]


_JOB = """
import os, sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {root!r}]
from tests.test_processes import note_and_sleep
from nim4asr.processes import parallel_map
if __name__ == "__main__":
    list(parallel_map(note_and_sleep, [{folder!r}] * 4, 2))
"""


def note_and_sleep(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


@pytest.mark.parametrize("killed", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_who_started_them(tmp_path: Path, killed: signal.Signals) -> None:
    notes, script = tmp_path / "notes", tmp_path / "job.py"
    notes.mkdir()
    root = Path(__file__).parent.parent
    script.write_text(_JOB.format(tests=str(root / "tests"), root=str(root), folder=str(notes)))
    job = subprocess.Popen([sys.executable, str(script)])
    while len(list(notes.iterdir())) < 2:
        assert job.poll() is None
        time.sleep(0.05)
    job.send_signal(killed)
    job.wait()
    patience = time.monotonic() + 20
    while any(alive(int(one.name)) for one in notes.iterdir()):
        assert time.monotonic() < patience
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        # One that has ended and that nobody has asked for is no more alive.
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
