import io
import json
import sys
from pathlib import Path

import pytest

from conftest import CLIP_FOLDER
from nim4asr.cli.main import main

CLIP = str(CLIP_FOLDER / "zh-1.flac")
TEXT = "“他”是中国人。"


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode("gb18030"))
    return str(path)


def test_a_word_a_line_by_default(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", CLIP, text]) == 0
    captured = capsys.readouterr()
    rows = [line.split("\t") for line in captured.out.splitlines()]
    assert [word for *_, word in rows] == ["“他”", "是", "中", "国", "人。"] and captured.err == ""
    times = [float(time) for *both, _ in rows for time in both]
    assert times == sorted(times)


def test_all_formats_into_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    out = tmp_path / "out"
    asked = ["align", CLIP, "-", "--format", "textgrid,json,srt", "--format", "ctm,vtt,txt"]
    assert main([*asked, "--output-dir", str(out)]) == 0
    names = ["zh-1.TextGrid", "zh-1.ctm", "zh-1.json", "zh-1.srt", "zh-1.txt", "zh-1.vtt"]
    assert sorted(path.name for path in out.glob("zh*")) == names and capsys.readouterr().out == ""
    row = json.loads((out / "zh-1.json").read_text())
    assert row["text"] == TEXT and row["audio"] == CLIP and len(row["words"]) == 5
    assert TEXT in (out / "zh-1.srt").read_text()


def test_sound_on_standard_input(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(CLIP).read_bytes())))
    assert main(["align", "-", text, "--format", "ctm"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_what_is_not_said_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.txt"
    path.write_text("他是中国人。The violin was much too expensive for us.")
    assert main(["align", CLIP, str(path)]) == 0
    captured = capsys.readouterr()
    assert "not said, between 0:0" in captured.err and "The violin was much" in captured.err
    assert len(captured.out.splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{clip}", "none.txt"], "none.txt: there is no such text"),
        (["none.wav", "{text}"], "none.wav: there is no such file"),
        (["-", "-"], "can be read once"),
        (["{clip}", "{text}", "--format", "srt,json"], "add --output-dir"),
        (["{clip}", "{text}", "--max-line", "20"], "--max-line is about subtitles"),
        (["{clip}", "{empty}"], "no word whose sound is known"),
        (["{clip}", "{other}"], "none of the text is said"),
        (["{clip}", "{clip}"], "the text cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str], sentence: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "other.txt").write_text("The violin was much too expensive for us.")
    places = {"clip": CLIP, "text": text, "empty": tmp_path / "empty.txt", "other": tmp_path / "other.txt"}
    assert main(["align", *(one.format(**places) for one in arguments)]) == 1
    captured = capsys.readouterr()
    assert sentence in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_text_that_is_no_text_on_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(CLIP).read_bytes())))
    assert main(["align", CLIP, "-"]) == 1
    assert "-: the text cannot be read" in capsys.readouterr().err


def test_a_format_that_is_none_is_refused_with_2(text: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["align", CLIP, text, "--format", "doc"])
    assert raised.value.code == 2
