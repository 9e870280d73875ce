"""Bulk jobs without a cluster: nothing is lost, doubled or done again, whenever everything is killed."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bulk.jobs import Ear, Here, KilledError
from nim4asr import files
from nim4asr.bulk import Cluster, Listening, Summary, transcribe
from nim4asr.bulk import shards as shards_module
from nim4asr.bulk.job import Listener
from nim4asr.bulk.shards import OutputFolder
from nim4asr.bulk.worker import MOST_ATTEMPTS, Worker
from nim4asr.errors import InputError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Seven files, one of them broken."""
    folder = tmp_path / "archive"
    for name in ("a.wav", "b.wav", "c.wav", "d.flac", "week 2/a.wav", "week 2/b.MP3"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} 说")
    (folder / "bad.wav").write_text("broken")
    return folder


def run(source: Path, out: Path, ear: Ear, **options: Any) -> Summary:
    return transcribe(
        source, out, listening=Listening(load=ear), **{"cluster": Here(), "rows_per_shard": 3, **options}
    )


def rows(out: Path) -> list[dict[str, Any]]:
    """All rows, in the order of their keys."""
    found = [json.loads(line) for path in out.glob("part-*.jsonl") for line in path.read_text().splitlines()]
    return sorted(found, key=lambda row: row["key"])


def test_a_folder_becomes_a_row_an_audio(archive: Path, tmp_path: Path) -> None:
    ear, out = Ear(), tmp_path / "out"
    counted: list[str] = []

    def progress(items: Any, what: str, total: int | None = None, done: int = 0) -> Any:
        assert (total, done) == (7, 0)
        for item in items:
            counted.append(item)
            yield item

    summary = run(archive, out, ear, progress=progress)
    broken = f"{archive / 'bad.wav'}: not audio that can be read"
    assert summary == Summary(7, 6, {"bad.wav": broken}, 0, 12.0, 3.0)
    found = rows(out)
    keys = ["a.wav", "b.wav", "bad.wav", "c.wav", "d.flac", "week 2/a.wav", "week 2/b.MP3"]
    assert [row["key"] for row in found] == keys == sorted(counted)
    assert found[2] == {
        "key": "bad.wav", "audio": str(archive / "bad.wav"), "status": "failed", "error": broken,
    }  # fmt: skip
    assert found[5]["text"] == "week 2/a.wav 说" and found[5]["status"] == "done"
    assert found[5]["audio"] == str(archive / "week 2/a.wav") and found[5]["segments"][0]["words"]
    assert sorted(path.name for path in out.iterdir()) == [
        "_job", *(f"part-00000{n}.jsonl" for n in range(3))
    ]  # fmt: skip
    assert ear.loaded == 1 and not list((out / "_job/under_way").iterdir())


def test_what_is_done_is_not_done_again_and_what_failed_is(archive: Path, tmp_path: Path) -> None:
    ear, out = Ear(), tmp_path / "out"
    run(archive, out, ear)
    before = rows(out)
    ear.heard.clear()
    assert run(archive, out, ear).before == 6 and ear.heard == ["broken"] and rows(out) == before
    (archive / "bad.wav").write_text("mended")
    ear.heard.clear()
    assert run(archive, out, ear) == Summary(7, 7, {}, 6, 14.0, 3.5)
    assert ear.heard == ["mended"] and [row["status"] for row in rows(out)] == ["done"] * 7
    # Nothing is left: nobody is asked for workers.
    cluster = Here()
    assert run(archive, out, ear, cluster=cluster).before == 7 and cluster.connections == 0
    # What has come is done, in shards of its own; what has gone keeps its row.
    (archive / "new.wav").write_text("new")
    (archive / "a.wav").unlink()
    assert run(archive, out, ear).audios == 8 and ear.heard[1:] == ["new"]
    assert rows(out)[0]["key"] == "a.wav" and len(rows(out)) == 8
    # A shard that someone has removed is done again.
    (out / "part-000000.jsonl").unlink()
    assert run(archive, out, ear).done == 7 and ear.heard[2:] == ["b.wav 说", "mended"]


def test_the_row_of_what_failed_and_has_gone_stays(archive: Path, tmp_path: Path) -> None:
    ear, out = Ear(), tmp_path / "out"
    (archive / "c.wav").write_text("broken")
    assert sorted(run(archive, out, ear, rows_per_shard=9).failed) == ["bad.wav", "c.wav"]
    (archive / "bad.wav").unlink()
    (archive / "c.wav").write_text("mended")
    assert list(run(archive, out, ear, rows_per_shard=9).failed) == ["bad.wav"] and len(rows(out)) == 7


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_moment_changes_nothing(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Before or after each write of a row, a shard, a log or the plan."""
    run(archive, tmp_path / "undisturbed", Ear())
    undisturbed = rows(tmp_path / "undisturbed")
    left = 0

    def killed(write: Callable[..., Any]) -> Callable[..., Any]:
        def told(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                raise KilledError
            result = write(*arguments, **named)
            if left == 0:
                raise KilledError
            return result

        return told

    for place, name in (
        ("shards", "append_line"), ("plan", "append_line"), ("plan", "write_atomic"), ("job", "write_atomic"),
    ):  # fmt: skip
        module = f"nim4asr.bulk.{place}.{name}"
        monkeypatch.setattr(module, killed(getattr(files, name)))
    monkeypatch.setattr(OutputFolder, "write", killed(OutputFolder.write))
    moments = 0
    while left <= 0:
        moments += 1
        left, ear, out = moments, Ear(), tmp_path / f"killed {moments}"
        try:
            run(archive, out, ear)
        except KilledError:
            known = [*rows(out), *under_way(out)]
            left = 0
            heard = len(ear.heard)
            summary = run(archive, out, ear)
            assert (summary.audios, summary.done) == (7, 6)
            again = ear.heard[heard:]
            assert not {row["text"] for row in known if row["status"] == "done"} & set(again)
        assert rows(out) == undisturbed
        assert not list((out / "_job/under_way").iterdir())
    # Two writes an audio, two a shard, the plan and the description.
    assert moments == 2 * 7 + 2 * 3 + 2 + 1


def under_way(out: Path) -> list[dict[str, Any]]:
    """The rows in the logs of shards that are not whole."""
    entries = [
        json.loads(line)
        for log in (out / "_job/under_way").glob("*.jsonl")
        for line in log.read_text().splitlines()
        if line.endswith("}")
    ]
    return [entry["row"] for entry in entries if "row" in entry]


def test_a_log_may_be_torn_and_a_row_may_be_in_two(archive: Path, tmp_path: Path) -> None:
    """By a kill; by a worker of the last run that has not ended yet."""
    ear, out = Ear(), tmp_path / "out"
    ear.at["c.wav 说"] = KilledError()
    with pytest.raises(KilledError):
        run(archive, out, ear, rows_per_shard=9)
    (log,) = (out / "_job/under_way").glob("*.jsonl")
    whole = log.read_text()
    log.with_name("part-000000.other.jsonl").write_text(whole + whole.splitlines()[1][:50])
    ear.at.clear()
    ear.heard.clear()
    assert run(archive, out, ear, rows_per_shard=9).done == 6
    # The broken one failed in another run.
    assert ear.heard == ["broken", "c.wav 说", "d.flac 说", "week 2/a.wav 说", "week 2/b.MP3 说"]
    assert len(rows(out)) == 7


def test_an_audio_that_kills_its_worker_is_given_up(archive: Path, tmp_path: Path) -> None:
    ear = Ear()
    ear.at["b.wav 说"] = KilledError()

    class Restarting(Here):
        """Begins a task again, by another worker, whenever one was killed."""

        def reports(self, work: Any, tasks: Any) -> Any:
            for task in tasks:
                while True:
                    try:
                        yield from super().reports(work, [task])
                        break
                    except KilledError:
                        pass

    summary = run(archive, tmp_path / "out", ear, cluster=Restarting())
    assert ear.heard.count("b.wav 说") == MOST_ATTEMPTS and ear.heard.count("a.wav 说") == 1
    assert sorted(summary.failed) == ["b.wav", "bad.wav"] and "given up; 3 times" in summary.failed["b.wav"]
    # The next run tries again.
    ear.at.clear()
    assert list(run(archive, tmp_path / "out", ear).failed) == ["bad.wav"]


def test_a_fault_is_one_audios_own(archive: Path, tmp_path: Path) -> None:
    """With a fresh model it is tried once more."""
    ear = Ear()
    ear.at["c.wav 说"] = RuntimeError("the GPU is lost")
    summary = run(archive, tmp_path / "out", ear)
    assert summary.failed["c.wav"] == f"{archive / 'c.wav'}: RuntimeError: the GPU is lost"
    assert ear.heard.count("c.wav 说") == 2 and ear.loaded == 2 and summary.done == 5


def test_without_a_model_nothing_is_marked_as_failed(archive: Path, tmp_path: Path) -> None:
    def broken() -> Any:
        raise InputError("no-such-model: there is no such model")

    def faulty() -> Any:
        raise OSError("libcuda.so: cannot open")

    out = tmp_path / "out"
    for load, told in ((broken, "^no-such-model: there"), (faulty, "a worker cannot begin .*libcuda")):
        with pytest.raises(InputError, match=told):
            transcribe(archive, tmp_path / load.__name__, listening=Listening(load=load), cluster=Here())
        assert rows(tmp_path / load.__name__) == []
    assert run(archive, out, Ear()).done == 6


def test_a_folder_holds_one_job(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    out = tmp_path / "out"
    run(archive, out, Ear())
    with pytest.raises(InputError, match="another source"):
        run(archive / "week 2", out, Ear())
    with pytest.raises(InputError, match="another format"):
        run(archive, out, Ear(), format="parquet")
    with pytest.raises(InputError, match="another load and digits"):
        transcribe(archive, out, listening=Listening(digits=True), cluster=Here())
    monkeypatch.setattr(files, "_PATIENCE_S", 0.05)
    with (
        files.locked(out / "_job/job.json"),
        pytest.raises(InputError, match="another job is at work in this folder"),
    ):
        run(archive, out, Ear())
    (out / "_job/job.json").write_text("[]")
    with pytest.raises(InputError, match="no description of a job"):
        run(archive, out, Ear())


@pytest.mark.parametrize("log", ["plan", "reports"])
def test_logs_that_are_none_are_refused(archive: Path, tmp_path: Path, log: str) -> None:
    run(archive, tmp_path / "out", Ear())
    (tmp_path / f"out/_job/{log}.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match=rf"{log}.jsonl: this is no log of a job"):
        run(archive, tmp_path / "out", Ear())


def test_what_cannot_be_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one row"):
        run(archive, tmp_path / "out", Ear(), rows_per_shard=0)
    with pytest.raises(InputError, match="json or parquet, not 'srt'"):
        run(archive, tmp_path / "out", Ear(), format="srt")
    with pytest.raises(InputError, match="at least one worker"):
        Cluster(workers=0)
    with pytest.raises(InputError, match="more than 0 cores"):
        Cluster(cpus_per_worker=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(archive, tmp_path / "file", Ear())


def test_a_damaged_shard_is_told(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(archive, out, Ear())
    (out / "_job/reports.jsonl").unlink()
    (out / "part-000001.jsonl").write_text("half a ro")
    with pytest.raises(InputError, match=r"part-000001.jsonl: cannot be read .* remove it"):
        run(archive, out, Ear())


def test_shards_are_shared_out_among_workers(tmp_path: Path) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for number in range(40):
        (source / f"{number:02d}.wav").write_text(str(number))
    run(source, tmp_path / "out", Ear(), cluster=Here(5), rows_per_shard=None)
    assert len(list((tmp_path / "out").glob("part-*"))) == 20


def test_long_audios_have_shards_of_their_own(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nim4asr.bulk.plan._MOST_BYTES", 20)
    run(archive, tmp_path / "out", Ear())
    assert len(list((tmp_path / "out").glob("part-*"))) > 3 and len(rows(tmp_path / "out")) == 7


def test_a_worker_can_be_sent(tmp_path: Path) -> None:
    work = Worker(Listener(Listening(hints=("Ada",))), OutputFolder(tmp_path), "run")
    assert pickle.loads(pickle.dumps(work)) == work


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    row = {"key": "\udce9.wav", "audio": "/x/\udce9.wav", "status": "done", "text": "说"}
    output = OutputFolder(tmp_path)
    output.write("part-000000", [row])
    assert output.read("part-000000") == [row]
    assert shards_module.as_line({"text": "说"}) == '{"text": "说"}\n'
