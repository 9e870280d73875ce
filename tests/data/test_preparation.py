import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import Floats
from nim4asr.data.manifest import read_manifest
from nim4asr.data.noise import NoiseArchive
from nim4asr.data.preparation import prepare_noises, prepare_speech
from nim4asr.data.store import FeatureStore
from nim4asr.errors import InputError

CLIPS = Path(__file__).parents[1] / "clips"


@pytest.fixture
def archive(tmp_path: Path, tone: Floats) -> Path:
    with tarfile.open(tmp_path / "noise.tar", "w") as tar:
        for number in range(3):
            buffer = io.BytesIO()
            soundfile.write(buffer, np.tile(tone, number + 2), 16_000, format="FLAC")
            info = tarfile.TarInfo(f"hum/{number}.flac")
            info.size = len(buffer.getvalue())
            tar.addfile(info, io.BytesIO(buffer.getvalue()))
    return tmp_path / "noise.tar"


def test_noises_to_be_judged_on_are_left_out(archive: Path, tmp_path: Path) -> None:
    noises = prepare_noises(archive, tmp_path / "features", KaldiFeatures(), left_out=("hum/1", "other/"))
    assert [len(noise) for noise in noises] == [198, 398]
    assert NoiseArchive(str(archive), left_out=("hum/1",)).names == ("hum/0.flac", "hum/2.flac")


def test_noises_that_could_not_be_written_are_made_again(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(file: io.BufferedWriter, *arrays: Floats) -> None:
        file.write(b"PK half an archive")
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as context:
        context.setattr(np, "savez", torn)
        with pytest.raises(InputError, match="No space left"):
            prepare_noises(archive, tmp_path / "features", KaldiFeatures())
    # Half of it would have been trusted for ever.
    assert list((tmp_path / "features").iterdir()) == []
    noises = prepare_noises(archive, tmp_path / "features", KaldiFeatures())
    assert [len(noise) for noise in noises] == [198, 298, 398]
    # Others are made of another archive, or another choice of it.
    assert len(prepare_noises(archive, tmp_path / "features", KaldiFeatures(), left_out=("hum/1",))) == 2
    assert len(prepare_noises(archive, tmp_path / "features", KaldiFeatures())) == 3
    archive.unlink()
    assert len(prepare_noises(archive, tmp_path / "features", KaldiFeatures())) == 3


def test_noises_of_before_are_made_again(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    np.savez(folder / "noises-kaldi-80.npz", np.zeros((5, 80), np.float32))
    assert len(prepare_noises(archive, folder, KaldiFeatures())) == 3


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of three clips."""
    for name in ("zh-1", "zh-2", "en-1"):
        (tmp_path / f"{name}.flac").write_bytes((CLIPS / f"{name}.flac").read_bytes())
    rows = [
        {"id": name, "audio": f"{name}.flac", "text": text, "language": name[:2]}
        for name, text in (("zh-1", "他是中国人"), ("zh-2", "他是中国人"), ("en-1", "how are you"))
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def edited(manifest: Path, **changes: object) -> Path:
    """The manifest, its second row changed."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    rows[1] |= changes
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def left_out(folder: Path) -> dict[str, str]:
    rows = (folder / "left-out.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["id"]: row["reason"] for row in map(json.loads, rows)}


def test_a_clip_that_is_shorter_than_its_manifest_says_is_left_out(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert prepare_speech(read_manifest(edited(corpus, duration=99.0)), folder) == 2
    assert list(left_out(folder)) == ["zh-2"] and "the manifest says 99.00" in left_out(folder)["zh-2"]
    samples, rate = soundfile.read(tmp_path / "zh-2.flac")
    # Durations are rounded, and formats are longer than what they hold.
    for duration in (len(samples) / rate, round(len(samples) / rate, 1), 0.9 * len(samples) / rate):
        assert prepare_speech(read_manifest(edited(corpus, duration=duration)), folder) == 3


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_clip_that_is_damaged_is_left_out(corpus: Path, tmp_path: Path, format: str) -> None:
    samples, rate = soundfile.read(tmp_path / "zh-2.flac", dtype="float32")
    soundfile.write(tmp_path / f"half.{format}", np.tile(samples, 4), rate, format=format)
    data = (tmp_path / f"half.{format}").read_bytes()
    (tmp_path / f"half.{format}").write_bytes(data[: len(data) // 2])
    manifest = edited(corpus, audio=f"half.{format}", text="他是中国人" * 4)
    assert prepare_speech(read_manifest(manifest), tmp_path / "store") == 2
    assert "cut short" in left_out(tmp_path / "store")["zh-2"]


def test_a_manifest_that_has_changed_is_looked_at_again(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert prepare_speech(read_manifest(corpus), folder) == 3
    made = (folder / "features.f16").stat().st_ino
    prepare_speech(read_manifest(corpus), folder)
    assert (folder / "features.f16").stat().st_ino == made
    with corpus.open("a") as file:
        file.write(json.dumps({"audio": "zh-1.flac", "text": "他是中国人"}) + "\n")
    assert prepare_speech(read_manifest(corpus), folder) == 4
    assert prepare_speech(read_manifest(edited(corpus, text="中国人")), folder) == 4
    assert FeatureStore(folder).utterances[1].text == "中国人"
    # Another bound on their length makes another store.
    assert prepare_speech(read_manifest(corpus), folder, longest=0.1) == 0


def test_a_corpus_may_be_moved(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    prepare_speech(read_manifest(corpus), folder)
    made = (folder / "features.f16").stat().st_ino
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (corpus, *tmp_path.glob("*.flac")):
        path.rename(moved / path.name)
    prepare_speech(read_manifest(moved / corpus.name), folder)
    assert (folder / "features.f16").stat().st_ino == made


def test_noises_that_are_damaged_are_made_again(archive: Path, tmp_path: Path) -> None:
    first = prepare_noises(archive, tmp_path / "features", KaldiFeatures())
    (kept,) = (tmp_path / "features").iterdir()
    data = kept.read_bytes()
    middle = len(data) // 2
    for damaged in (data[:middle], data[:middle] + b"no noise" + data[middle + 8 :], b""):
        kept.write_bytes(damaged)
        again = prepare_noises(archive, tmp_path / "features", KaldiFeatures())
        assert all(map(np.array_equal, again, first)) and len(again) == 3


@pytest.mark.parametrize("damage", ["cut", "longer", "gone", "torn index", "index of others", "line less"])
def test_a_damaged_store_is_told_and_made_again(corpus: Path, tmp_path: Path, damage: str) -> None:
    store = tmp_path / "store"
    assert prepare_speech(read_manifest(corpus), store) == 3
    features, index = store / "features.f16", store / "index.jsonl"
    whole = {path.name: path.read_bytes() for path in store.iterdir()}
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    if damage in ("cut", "longer"):
        features.write_bytes(
            features.read_bytes()[:-7] if damage == "cut" else features.read_bytes() + b"1234567"
        )
    elif damage == "gone":
        features.unlink()
    elif damage == "torn index":
        index.write_text("".join(lines)[:-9], encoding="utf-8")
    elif damage == "index of others":
        index.write_text('{"start": 0}\n', encoding="utf-8")
    else:
        index.write_text("".join(lines[1:]), encoding="utf-8")
    with pytest.raises(InputError, match=r"store: the feature store is damaged \(.*\); delete it"):
        FeatureStore(store)
    assert prepare_speech(read_manifest(corpus), store) == 3
    assert {path.name: path.read_bytes() for path in store.iterdir()} == whole
