import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import CLIP_FOLDER
from tools.label_speech import apart, main

from nim4asr.audio.reading import read_audio

# Writes how many samples it was given, in two lines.
TEACHER = """
from types import SimpleNamespace as Some

class ModelArch:
    TINY = 0

class Transcriber:
    def __init__(self, folder, size):
        assert folder.endswith("assets/tiny-en") and size == 0

    def transcribe_without_streaming(self, samples, rate):
        return Some(lines=[Some(text=" heard "), Some(text=f"{len(samples)} at {rate}")])
"""


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "moonshine_voice.py").write_text(TEACHER)
    # Other processes find it there too.
    monkeypatch.syspath_prepend(tmp_path)
    clips = tmp_path / "clips"
    (clips / "deeper").mkdir(parents=True)
    shutil.copy(CLIP_FOLDER / "en-1.flac", clips / "one.flac")
    shutil.copy(CLIP_FOLDER / "en-2.flac", clips / "deeper/two.flac")
    (clips / "broken.wav").write_bytes(b"no sound")
    (clips / "notes.txt").write_text("no clip")
    soundfile.write(clips / "short.wav", np.zeros(8000), 16_000)
    soundfile.write(clips / "long.wav", np.zeros(13 * 16_000), 16_000)
    return clips


def label(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["label_speech", *arguments])
    return main()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_labels_what_has_the_length_of_a_sentence_and_goes_on(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    workers: str,
) -> None:
    monkeypatch.setattr("tools.label_speech._FRESH_AFTER", 3)
    output = tmp_path / "labels.jsonl"
    assert label(monkeypatch, str(clips), "-o", str(output), "--workers", workers) == 0
    assert "broken.wav" in capfd.readouterr().err
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["two", "one"]
    sizes = [len(read_audio(CLIP_FOLDER / f"en-{number}.flac")) for number in (2, 1)]
    assert [row["text"] for row in rows] == [f"heard {size} at 16000" for size in sizes]
    assert Path(rows[0]["audio"]) == clips / "deeper/two.flac"
    # A crash tore the last line; the clip is labeled again.
    text = output.read_text(encoding="utf-8")
    output.write_text(text[:-20], encoding="utf-8")
    assert label(monkeypatch, str(clips), "-o", str(output), "--workers", workers) == 0
    assert output.read_text(encoding="utf-8") == text


def test_a_folder_without_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(monkeypatch, str(tmp_path), "-o", str(tmp_path / "labels.jsonl")) == 1
    assert "no clip is here" in capsys.readouterr().err


def test_nobody_of_the_dev_split_is_labeled(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"crowd_en_{number}" for number in (100, 161, 200, 260, 261, 340)]
    found = apart([Path(f"{name}.mp3") for name in names], ["crowd_en_340"], ["crowd_en_220"])
    assert [clip.stem for clip in found] == ["crowd_en_100"]
    assert apart([Path("one.mp3"), Path("281.mp3")], ["one"], ["220", "noname"]) == [Path("281.mp3")]
    manifest = tmp_path / "manifest.jsonl"
    row = {"id": "two", "audio": "two.flac", "text": "two", "language": "en", "split": "train"}
    manifest.write_text(json.dumps(row) + "\n", encoding="utf-8")
    output = tmp_path / "labels.jsonl"
    options = ["-o", str(output), "--workers", "1", "--apart-from", str(manifest)]
    assert label(monkeypatch, str(clips), *options) == 0
    assert [json.loads(line)["id"] for line in output.read_text(encoding="utf-8").splitlines()] == ["one"]


def test_what_is_missing_is_said_in_a_sentence(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "labels.jsonl")
    assert label(monkeypatch, str(clips), "-o", output, "--apart-from", "none.jsonl") == 1
    assert "none.jsonl" in (told := capsys.readouterr().err) and told.count("\n") == 1
    monkeypatch.setattr("tools.label_speech.find_spec", lambda name: None)
    assert label(monkeypatch, str(clips), "-o", output) == 1
    assert "Moonshine is not installed" in capsys.readouterr().err
