"""``nim4 transcribe --ray``, with workers in this process."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from bulk.jobs import Ear, Here
from nim4asr.bulk.cluster import Cluster
from nim4asr.cli import bulk as command
from nim4asr.cli.main import main, parser


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Ear:
    ear = Ear()
    monkeypatch.setattr(command, "load_recognizer", lambda options: ear)
    monkeypatch.setattr(Cluster, "connected", lambda cluster: Here().connected())
    return ear


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.wav").write_text("broken" if name == "b" else name)
    return folder


def test_a_job_is_done_and_goes_on(
    ear: Ear, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["transcribe", str(folder), "--ray", "local", "--output-dir", str(tmp_path / "out")]
    assert main(asked) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"nim4: {folder / 'b.wav'}: not audio that can be read\n" in captured.err
    assert "nim4: 2 of 3 audios are done, 0 of them before; 0.00 hours of sound" in captured.err
    (folder / "b.wav").write_text("b")
    ear.heard.clear()
    assert main(asked) == 0 and ear.heard == ["b"]
    assert "3 of 3 audios are done, 2 of them before" in capsys.readouterr().err
    texts = [
        json.loads(line)["text"]
        for shard in sorted((tmp_path / "out").glob("part-*.jsonl"))
        for line in shard.read_text().splitlines()
    ]
    assert sorted(texts) == ["a", "b", "c"]
    assert main([*asked, "--beams", "2"]) == 1
    assert "holds a job with another load" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a", "b", "--ray", "local", "--output-dir", "o"], "one folder, manifest or Parquet file"),
        (["-", "--ray", "local", "--output-dir", "o"], "one folder, manifest or Parquet file"),
        (["a", "--ray", "local"], "add --output-dir DIR"),
        (
            ["a", "--ray", "local", "--output-dir", "o", "--format", "txt"],
            "--format json or --format parquet",
        ),
        (["a", "--ray", "local", "--output-dir", "o", "--format", "json,parquet"], "one of them"),
        (["a", "--ray", "local", "--output-dir", "o", "--skip-existing"], "--skip-existing is not for --ray"),
        (["a", "--ray", "local", "--output-dir", "o", "--summary", "s"], "--summary is not for --ray"),
        (["a", "--ray", "local", "--output-dir", "o", "--workers", "0"], "at least one worker"),
        (["a", "--ray", "local", "--output-dir", "o", "--max-line", "9"], "--max-line is about subtitles"),
        (["a.wav", "--workers", "2"], "--workers is about archives: add --ray"),
        (["a.wav", "--gpus-per-worker", "1"], "--gpus-per-worker is about archives: add --ray"),
        (["a.wav", "--rows-per-shard", "1"], "--rows-per-shard is about archives: add --ray"),
        (["a.wav", "--format", "parquet"], "--format parquet is for archives: add --ray"),
    ],
)
def test_options_without_effect_are_refused(
    ear: Ear, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", *arguments]) == 1
    assert sentence in capsys.readouterr().err and not ear.heard


def test_what_workers_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder's absolute path, and the threads of their cores; the whole can be pickled."""
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    given = ["transcribe", "a", "--ray", "auto", "--model", "model", "--cpus-per-worker", "4"]
    options = parser().parse_args(given)
    sent = command._on_workers(options, Cluster(cpus_per_worker=4))
    assert sent["model"] == str(tmp_path / "model") and sent["threads"] == 4
    assert command._on_workers(options, Cluster(gpus_per_worker=1))["threads"] is None
    model: Any = pickle.loads(pickle.dumps(command._Model(sent)))
    assert repr(model) == f"model={tmp_path / 'model'}, dtype=float32"


def test_without_ray_its_extra_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["transcribe", str(folder), "--ray", "local", "--output-dir", str(tmp_path / "out")]) == 1
    assert "this needs ray, which is not installed: pip install 'nim4asr[ray]'" in capsys.readouterr().err
