"""Jobs of many files: folders, formats, what was done before, and kills at any moment."""

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import CLIP_FOLDER
from nim4asr import files
from nim4asr.cli import transcribe as command
from nim4asr.cli.inputs import job_inputs
from nim4asr.cli.main import main
from nim4asr.cli.outputs import LIST, OutputFolder, Summary
from nim4asr.cli.progress import JobProgress
from nim4asr.errors import InputError
from nim4asr.recognition.result import Segment, Transcript, Word


class Listener:
    """Plays the recognizer: hears the text that a file holds."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.gain: Any = None
        self.channels: Any = None

    def transcribe(
        self,
        source: str | bytes,
        *,
        name: str,
        gain: Any,
        channels: Any,
        progress: Callable[[float], None],
        **_: Any,
    ) -> Transcript:
        self.heard.append(name)
        self.gain, self.channels = gain, channels
        text = source.decode() if isinstance(source, bytes) else Path(source).read_text()
        if text == "broken":
            raise InputError(f"{name}: not audio that can be read")
        progress(1.0)
        warnings = () if text else (f"{name}: no speech was found (level -52 dBFS)",)
        segments = (Segment(0.0, 1.0, text, 0.9, (Word(text, 0.0, 1.0, 0.9),)),) if text else ()
        return Transcript(name, 1.0, segments, 0.1, warnings)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    listener = Listener()
    monkeypatch.setattr(command, "load_recognizer", lambda options: listener)
    return listener


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lectures of two weeks, with equal names, among other files."""
    folder = tmp_path / "lectures"
    for name in (
        "b.mp3",
        "a.wav",
        "week 1/a.wav",
        "week 2/A.FLAC",
        "week 2/a.wav",
        ".hidden/a.wav",
        ".a.wav",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name.replace("/", " "))
    (folder / "notes.txt").write_text("mine")
    return folder


def made(out: Path) -> dict[str, str]:
    """What is in a folder of transcripts, but for its list and locks."""
    found = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(out).as_posix(): path.read_text() for path in found}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_becomes_a_folder_of_all_formats(listener: Listener, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["transcribe", str(folder), "--recursive", "--output-dir", str(out), "--format", "txt,srt"]
    assert main([*asked, "--format", "json", "--gain", "auto"]) == 0
    names = ("a", "b", "week 1/a", "week 2/A", "week 2/a")
    assert sorted(made(out)) == sorted(f"{name}.{end}" for name in names for end in ("txt", "srt", "json"))
    assert made(out)["week 2/a.txt"] == "week 2 a.wav\n" and "-->" in made(out)["week 2/a.srt"]
    assert [Path(name).relative_to(folder).as_posix() for name in listener.heard] == [
        "a.wav", "b.mp3", "week 1/a.wav", "week 2/A.FLAC", "week 2/a.wav",
    ]  # fmt: skip
    assert listener.gain == "auto"


def test_equal_names_have_one_name_in_all_formats(tmp_path: Path) -> None:
    (tmp_path / "x.srt").write_text("the user's own")
    output = OutputFolder(tmp_path, ["txt", "srt"])
    texts = {"txt": "1", "srt": "2"}
    assert [path.name for path in output.write("a/x.wav", texts)] == ["x-2.txt", "x-2.srt"]
    assert [path.name for path in output.write("b/x.wav", texts)] == ["x-3.txt", "x-3.srt"]
    again = OutputFolder(tmp_path, ["txt", "srt"])
    assert [path.name for path in again.existing("b/x.wav") or []] == ["x-3.txt", "x-3.srt"]
    assert again.existing("c/x.wav") is None


def test_what_is_there_is_skipped_and_what_failed_is_done_again(
    listener: Listener, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, summary = tmp_path / "out", tmp_path / "summary.jsonl"
    asked = ["transcribe", str(folder), "--recursive", "--output-dir", str(out), "--skip-existing"]
    asked += ["--summary", str(summary)]
    (folder / "b.mp3").write_text("broken")
    (folder / "week 1/a.wav").write_text("")
    assert main(asked) == 1
    told = capsys.readouterr().err
    assert "b.mp3: not audio that can be read" in told and "no speech was found" in told
    by_name = {Path(row["audio"]).relative_to(folder).as_posix(): row for row in rows(summary)}
    assert {name: row["status"] for name, row in by_name.items()} == {
        "a.wav": "done", "b.mp3": "failed", "week 1/a.wav": "done", "week 2/A.FLAC": "done",
        "week 2/a.wav": "done",
    }  # fmt: skip
    assert by_name["week 1/a.wav"]["warnings"] and "not audio" in by_name["b.mp3"]["error"]
    assert by_name["a.wav"] == {
        "audio": str(folder / "a.wav"), "status": "done", "files": [str(out / "a.txt")], "duration": 1.0,
        "computing_s": 0.1, "segments": 1, "characters": 5, "warnings": [],
    }  # fmt: skip
    (folder / "b.mp3").write_text("mended")
    listener.heard.clear()
    assert main(asked) == 0
    assert listener.heard == [str(folder / "b.mp3")] and made(out)["b.txt"] == "mended\n"
    # Still a row an audio, with what was done.
    assert [row["status"] for row in rows(summary)] == ["done"] * 5
    # Another format is not there yet.
    listener.heard.clear()
    assert main([*asked, "--format", "txt,vtt"]) == 0 and len(listener.heard) == 5


def test_standard_input(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def given(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    given(b"said")
    assert main(["transcribe", "-"]) == 0 and capsys.readouterr().out == "said\n"
    given(b"again")
    assert main(["transcribe", "-", "--output-dir", str(tmp_path), "--skip-existing"]) == 0
    given(b"other")
    assert main(["transcribe", "-", "--output-dir", str(tmp_path), "--skip-existing"]) == 0
    assert made(tmp_path) == {"stdin.txt": "other\n"}
    assert main(["transcribe", "-", "-"]) == 1 and "give it once" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["transcribe", "-"]) == 1 and "standard input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "srt,txt"], "add --output-dir"),
        (["--skip-existing"], "add --output-dir"),
        (["--max-line", "30"], "--max-line is about subtitles"),
        (["--format", "srt", "--highlight-words"], "only vtt"),
        (["--format", "srt", "--max-lines", "0"], "1 to 10 lines"),
        (["--nbest", "3"], "add --format json"),
        (["--nbest", "0", "--format", "json"], "from 1 to 100"),
    ],
)
def test_options_without_effect_are_refused(
    listener: Listener, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["transcribe", "a.wav", *arguments]) == 1
    assert sentence in capsys.readouterr().err and not listener.heard


@pytest.mark.parametrize("arguments", [["--format", "txt,doc"], ["--gain", "loud"]])
def test_values_that_no_option_has_are_refused_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["transcribe", "a.wav", *arguments])
    assert raised.value.code == 2


def test_folders_without_recursive_and_without_sound(
    listener: Listener, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", str(folder), str(folder / "a.wav")]) == 1
    captured = capsys.readouterr()
    assert "add --recursive" in captured.err and "a.wav" in captured.out
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no audio file"):
        job_inputs([str(tmp_path / "empty")], recursive=True)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_job_that_is_killed_at_any_moment_goes_on(
    listener: Listener, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each flush to the disk in turn: nothing is ever half there, and in the end all is."""

    def asked(out: Path) -> list[str]:
        job = ["transcribe", str(folder), "--recursive", "--skip-existing", "--format", "txt,json"]
        return [*job, "--output-dir", str(out), "--summary", str(out.with_suffix(".jsonl"))]

    assert main(asked(tmp_path / "whole")) == 0
    whole = made(tmp_path / "whole")
    genuine, moment, killed = os.fsync, 0, True
    while killed:
        moment += 3
        out = tmp_path / f"killed-{moment}"
        child = os.fork()
        if child == 0:
            left = moment

            def flush(handle: int) -> None:
                nonlocal left
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                genuine(handle)

            files.os.fsync = flush
            os._exit(main(asked(out)))
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        assert all(whole[name] == text for name, text in made(out).items())
        before = len(made(out))
        listener.heard.clear()
        assert main(asked(out)) == 0
        assert made(out) == whole
        # What was done is not done again.
        assert len(listener.heard) <= 5 - before // 2
        summary = rows(out.with_suffix(".jsonl"))
        assert len(summary) == 5 and {row["status"] for row in summary} <= {"done", "skipped"}
    assert moment > 30


def test_what_a_kill_left_half_written_is_swept(tmp_path: Path) -> None:
    old, new, own = (tmp_path / name for name in (".0123456789ab.new", ".ba9876543210.new", ".mine.new"))
    for path in (old, new, own):
        path.write_text("half")
    for path in (old, own):
        os.utime(path, (0, 0))
    OutputFolder(tmp_path, ["txt"])
    assert not old.exists() and new.exists() and own.exists()


def test_a_summary_is_mended_and_no_other_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "summary.jsonl"
    path.write_text('{"audio": "a", "status": "done"}\n{"audio": "b", "sta')
    summary = Summary(path)
    summary.add({"audio": "a", "status": "skipped"})
    summary.add({"audio": "b\udcff", "status": "failed"})
    summary.close()
    assert rows(path) == [{"audio": "a", "status": "done"}, {"audio": "b?", "status": "failed"}]
    path.write_text("[]\n")
    with pytest.raises(InputError, match="no summary of a job"):
        Summary(path)


def test_the_bar_goes_over_the_whole_job() -> None:
    with JobProgress([100, 300, 100, 0]) as progress:
        told = progress.within("a.xyz", 100)
        told(5.0)
        # Nobody knows how long the first of its kind is.
        assert progress.done_bytes == 0
        told(10.0)
        progress.done(100)
        told = progress.within("b.xyz", 300)
        told(15.0)
        assert progress.done_bytes == 100 + 150
        told(99.0)
        assert progress.done_bytes == 400
        progress.done(300)
        progress.skip(100)
        progress.within("-", 0)(3.0)
        progress.done(0)
        assert progress.done_bytes == 400


def test_the_list_of_names_stays_in_the_folder_that_was_given(
    listener: Listener, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["transcribe", str(folder), "--recursive", "--output-dir", str(out)]) == 0
    assert [path.relative_to(out).as_posix() for path in out.rglob(LIST)] == [LIST]


@pytest.mark.parametrize(("given", "heard"), [("mixed", "mixed"), ("apart", "apart"), ("2", 2)])
def test_channels(listener: Listener, folder: Path, given: str, heard: object) -> None:
    file = next(path for path in sorted(folder.rglob("*.wav")))
    main(["transcribe", str(file), "--channels", given])
    assert listener.channels == heard


@pytest.mark.parametrize("wrong", ["left", "0", "-1", "1.5", "²"])
def test_channels_that_there_are_none_of(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", "a.wav", f"--channels={wrong}"])
    assert ended.value.code == 2
    assert "neither mixed nor apart nor a number from 1" in capsys.readouterr().err


def test_alternatives_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["transcribe", str(CLIP_FOLDER / "en-1.flac"), "--format", "json", "--nbest"]
    assert main([*asked, "3"]) == 0
    (segment,) = json.loads(capsys.readouterr().out)["segments"]
    assert segment["alternatives"][0]["text"] == segment["text"] and len(segment["alternatives"]) == 3
    assert main([*asked, "3", "--beams", "2"]) == 1
    assert "--beams 3" in capsys.readouterr().err
