import multiprocessing
from pathlib import Path

import pytest

from nim4asr.cli.main import main
from nim4asr.cli.outputs import LIST, OutputFolder
from nim4asr.errors import InputError

CLIPS = Path(__file__).parents[1] / "clips"


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.suffix == ".txt"}


def test_equal_names_in_two_folders(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path, ["txt"])
    for audio in ("a/x.wav", "b/x.wav", "b/x.mp3", "x.wav"):
        output.write(audio, {"txt": audio})
    assert texts(tmp_path) == {
        "x.txt": "a/x.wav",
        "x-2.txt": "b/x.wav",
        "x-3.txt": "b/x.mp3",
        "x-4.txt": "x.wav",
    }


def test_a_second_run_replaces_its_own_and_nothing_else(tmp_path: Path) -> None:
    OutputFolder(tmp_path, ["txt"]).write("a/x.wav", {"txt": "a"})
    OutputFolder(tmp_path, ["txt"]).write("b/x.wav", {"txt": "b"})
    (tmp_path / "notes.txt").write_text("the user's own")
    again = OutputFolder(tmp_path, ["txt"])
    for audio, text in (
        ("b/x.wav", "b again"),
        ("c/x.wav", "c"),
        ("notes.wav", "heard"),
        ("a/x.wav", "a again"),
    ):
        again.write(audio, {"txt": text})
    assert texts(tmp_path) == {
        "x.txt": "a again",
        "x-2.txt": "b again",
        "x-3.txt": "c",
        "notes.txt": "the user's own",
        "notes-2.txt": "heard",
    }


def test_one_audio_by_two_names_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    OutputFolder(tmp_path / "o", ["srt"]).write("x.wav", {"srt": "1"})
    assert (
        OutputFolder(tmp_path / "o", ["srt"]).write(str(tmp_path / "a/../x.wav"), {"srt": "2"})[0].name
        == "x.srt"
    )
    assert OutputFolder(tmp_path / "o", ["json"]).write("x.wav", {"json": "3"})[0].name == "x.json"


def test_a_list_that_is_torn_or_no_list(tmp_path: Path) -> None:
    OutputFolder(tmp_path, ["txt"]).write("a/x.wav", {"txt": "a"})
    with (tmp_path / LIST).open("a") as file:
        file.write('{"file": "x-2.t')
    assert OutputFolder(tmp_path, ["txt"]).write("b/x.wav", {"txt": "b"})[0].name == "x-2.txt"
    (tmp_path / LIST).write_text("[1]\n")
    with pytest.raises(InputError, match="no list of transcripts"):
        OutputFolder(tmp_path, ["txt"]).write("b/x.wav", {"txt": "b"})


def write_some(folder: Path, name: str) -> None:
    for number in range(10):
        OutputFolder(folder, ["txt"]).write(f"{name}/{number}.wav", {"txt": f"{name}/{number}"})


def test_runs_beside_one_another(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=write_some, args=(tmp_path, name)) for name in "abc"]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(texts(tmp_path).values()) == sorted(
        f"{name}/{number}" for name in "abc" for number in range(10)
    )


def test_the_command(tmp_path: Path) -> None:
    audios = []
    for folder, clip in (("a", "zh-1"), ("b", "en-1")):
        (tmp_path / folder).mkdir()
        audios.append(tmp_path / folder / "x.flac")
        audios[-1].write_bytes((CLIPS / f"{clip}.flac").read_bytes())
    out = tmp_path / "o"
    assert main(["transcribe", *map(str, audios), "--output-dir", str(out)]) == 0
    first = texts(out)
    assert len(first) == 2 and "他是中国人" in first["x.txt"]
    assert main(["transcribe", str(audios[1]), "--output-dir", str(out)]) == 0
    assert texts(out) == first
