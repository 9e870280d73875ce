"""What a bulk job takes: each audio has a key that is its own, whatever else comes."""

import json
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bulk.jobs import Ear, Here
from nim4asr.bulk import Listening, read_audios, transcribe
from nim4asr.errors import InputError

needs_parquet = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs Ray")


def heard(source: Path, column: str = "audio") -> dict[str, Any]:
    """What each audio holds, by its key."""
    found = {}
    for audio in read_audios(source, column):
        sound = audio.source()
        found[audio.key] = sound.decode() if isinstance(sound, bytes) else Path(sound).read_text()
    return found


def test_a_folder_with_all_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.wav", "x/a.FLAC", "x/y/b.wav", ".hidden/c.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert heard(tmp_path) == {name: name for name in ("b.wav", "x/a.FLAC", "x/y/b.wav")}
    # Workers have another folder to begin in.
    monkeypatch.chdir(tmp_path.parent)
    first = read_audios(tmp_path.name)[0]
    assert first.name == f"{tmp_path.name}/b.wav" and first.path == str(tmp_path / "b.wav")
    assert first.size == 5


def test_a_manifest(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_text(name)
    with tarfile.open(tmp_path / "clips.tar", "w") as archive:
        archive.add(tmp_path / "a.wav", "in/a.wav")
    lines = [
        {"audio": "a.wav", "text": "not needed"},
        {"audio": str(tmp_path / "b.wav"), "id": "second"},
        {"audio": "in/a.wav", "tar": "clips.tar"},
        {"audio": "a.wav"},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n\n".join(map(json.dumps, lines)))
    assert heard(manifest) == {"a.wav": "a.wav", "second": "b.wav", "in/a.wav": "a.wav", "a.wav#2": "a.wav"}


@pytest.mark.parametrize(
    ("line", "told"),
    [("{}", "expected a JSON object"), ("[]", "expected a JSON"), ("{", "expected a JSON"),
     ('{"audio": 1}', "must be strings"), ('{"audio": "a", "tar": 1}', "must be strings")],
)  # fmt: skip
def test_lines_that_are_no_audio(tmp_path: Path, line: str, told: str) -> None:
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav"}\n' + line)
    with pytest.raises(InputError, match=f"m.jsonl, line 2: .*{told}"):
        read_audios(tmp_path / "m.jsonl")


def test_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such manifest"):
        read_audios(tmp_path / "none.jsonl")
    for empty in (tmp_path, tmp_path / "empty.jsonl"):
        if empty.suffix:
            empty.write_text("")
        with pytest.raises(InputError, match="there is no audio in it"):
            read_audios(empty)


def test_an_audio_that_is_not_there_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "tar": "none.tar"}')
    summary = transcribe(
        tmp_path / "m.jsonl", tmp_path / "out", listening=Listening(load=Ear()), cluster=Here()
    )
    assert "none.tar: the archive cannot be read" in summary.failed["a.wav"]


@needs_parquet
def test_parquet_with_paths_bytes_and_both(tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    folder = tmp_path / "tables"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_text(name)

    def table(name: str, **columns: Any) -> Path:
        # Groups of two rows, so that rows are looked for.
        parquet.write_table(arrow.table(columns), tmp_path / "tables" / name, row_group_size=2)
        return tmp_path / "tables" / name

    paths = table("paths.parquet", audio=["a.wav", str(folder / "b.wav")])
    assert heard(paths) == {"a.wav": "a.wav", str(folder / "b.wav"): "b.wav"}
    sound = [b"one", b"two", b"three", b"four", b"five"]
    clips = table("bytes.parquet", sound=sound, text=list("abcde"))
    texts = [text.decode() for text in sound]
    assert heard(clips, "sound") == {f"bytes.parquet#{row}": text for row, text in enumerate(texts)}
    named = table("named.parquet", audio=sound[:3], id=["x", None, "x"])
    assert heard(named) == {"x": "one", "named.parquet#1": "two", "x#2": "three"}
    both = [{"bytes": b"one", "path": "clip.wav"}, {"bytes": None, "path": "b.wav"}]
    assert heard(table("both.parquet", audio=both)) == {"clip.wav": "one", "b.wav": "b.wav"}
    with pytest.raises(InputError, match="both audio and Parquet"):
        read_audios(folder)
    for name in ("a.wav", "b.wav"):
        (folder / name).unlink()
    with pytest.raises(InputError, match=r"there is no column 'audio'; there are sound, text"):
        read_audios(folder)
    with pytest.raises(InputError, match="neither paths nor bytes but int64"):
        read_audios(table("numbers.parquet", audio=[1, 2]))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"broken.parquet: the Parquet file cannot be read"):
        read_audios(tmp_path / "broken.parquet")


@needs_parquet
def test_empty_cells_are_rows_that_failed(tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    for name, cells in (("t", ["a.wav", None]), ("b", [b"heard", None])):
        place = tmp_path / f"{name}.parquet"
        (tmp_path / "a.wav").write_text("heard")
        parquet.write_table(arrow.table({"audio": cells}), place)
        out = tmp_path / f"out {name}"
        summary = transcribe(place, out, listening=Listening(load=Ear()), cluster=Here())
        assert summary.done == 1
        assert "'audio' is empty in row 1" in summary.failed[f"{name}.parquet#1"]


@needs_parquet
def test_parquet_shards_are_one_data_set(tmp_path: Path) -> None:
    import pyarrow.dataset

    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / f"{name}.wav").write_text("broken" if name == "b" else f"{name} 说")

    def run() -> Any:
        return transcribe(
            source, tmp_path / "out", listening=Listening(load=Ear()), cluster=Here(), format="parquet",
            rows_per_shard=1,
        )  # fmt: skip

    assert run().done == 2
    # All shards have the same columns, and what is not a row is passed over.
    rows = pyarrow.dataset.dataset(tmp_path / "out").to_table().sort_by("key").to_pylist()
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert rows[0]["text"] == "a 说" and rows[0]["duration"] == 2.0 and rows[1]["text"] is None
    assert json.loads(rows[0]["json"])["segments"][0]["words"][0]["text"] == "a 说"
    assert rows[1]["error"] == json.loads(rows[1]["json"])["error"]
    # They are read again to go on.
    (tmp_path / "out/_job/reports.jsonl").unlink()
    assert run().before == 2
