"""Which files of a folder are sound."""

from pathlib import Path

from nim4asr.audio.folders import sound_files


def test_sounds_come_in_order_and_hidden_ones_not_at_all(tmp_path: Path) -> None:
    for name in ("b.wav", "a.MP3", "x/a.flac", ".hidden/a.wav", ".a.wav", "x/notes.txt", "t.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in sound_files(tmp_path)]
    assert found == ["a.MP3", "b.wav", "x/a.flac"]
    assert list(sound_files(tmp_path, frozenset({".parquet"}))) == [tmp_path / "t.parquet"]
