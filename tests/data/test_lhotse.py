import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.lhotse import convert
from nim4asr.data.manifest import read_manifest
from nim4asr.errors import InputError


@pytest.fixture
def manifest(tmp_path: Path, tone: Floats) -> Path:
    """Two utterances: a file, and a member of an archive."""
    soundfile.write(tmp_path / "one.wav", tone, SAMPLE_RATE)
    buffer = io.BytesIO()
    soundfile.write(buffer, tone[:8000], SAMPLE_RATE, format="FLAC")
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        info = tarfile.TarInfo("two.flac")
        info.size = len(buffer.getvalue())
        buffer.seek(0)
        tar.addfile(info, buffer)
    rows = [
        {"id": "one", "audio": "one.wav", "text": "你好", "language": "zh", "speaker": "s", "split": "dev"},
        {"id": "two", "audio": "two.flac", "tar": "some.tar", "text": "hello", "language": "en"},
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Lhotse leaves the tars of a shar folder to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("between", ["cuts.jsonl.gz", "shar"])
def test_there_and_back(manifest: Path, tmp_path: Path, tone: Floats, between: str) -> None:
    there = convert(manifest, tmp_path / "there" / between)
    assert (there.written, there.left_out) == (2, {})
    back = convert(tmp_path / "there" / between, tmp_path / "back.jsonl")
    assert back.written == 2
    one, two = read_manifest(tmp_path / "back.jsonl")
    assert (one.id, one.text, one.language, one.speaker, one.split) == ("one", "你好", "zh", "s", "dev")
    assert (two.id, two.text, two.language) == ("two", "hello", "en")
    assert one.duration == pytest.approx(1.0) and two.duration == pytest.approx(0.5)
    np.testing.assert_allclose(read_audio(one.source()), tone, atol=1e-4)
    np.testing.assert_allclose(read_audio(two.source()), tone[:8000], atol=1e-4)


def test_a_part_of_a_recording_is_written_out(tmp_path: Path, tone: Floats) -> None:
    import lhotse

    soundfile.write(tmp_path / "long.wav", tone, SAMPLE_RATE)
    recording = lhotse.Recording.from_file(tmp_path / "long.wav")
    said = lhotse.SupervisionSegment("s", "long", 0.25, 0.5, text="好", language="Chinese")
    cut = lhotse.MonoCut("part", 0.25, 0.5, 0, recording=recording, supervisions=[said.with_offset(-0.25)])
    silent = lhotse.MonoCut("nothing said", 0.0, 1.0, 0, recording=recording)
    lhotse.CutSet.from_cuts([cut, silent]).to_file(tmp_path / "cuts.jsonl.gz")
    done = convert(tmp_path / "cuts.jsonl.gz", tmp_path / "manifest.jsonl")
    assert done.left_out == {"nothing said": "the cut has no text"}
    (one,) = read_manifest(tmp_path / "manifest.jsonl")
    assert one.language == "zh" and one.tar == str(tmp_path / "manifest.tar")
    np.testing.assert_allclose(read_audio(one.source()), tone[4000:12000], atol=1e-4)


def test_what_cannot_be_converted(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        convert(manifest, manifest)
    with pytest.raises(InputError, match="no such file"):
        convert(tmp_path / "none.jsonl.gz", tmp_path / "out.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no shar folder"):
        convert(tmp_path / "empty", tmp_path / "out.jsonl")
    (tmp_path / "one.wav").write_bytes(b"no sound")
    done = convert(manifest, tmp_path / "cuts.jsonl.gz")
    assert done.written == 1 and list(done.left_out) == ["one"]


def command_cuts(folder: Path, mixed: bool) -> Path:
    import lhotse

    ran = f"touch {folder / 'ran'}"
    source = lhotse.AudioSource("command", [0], ran)
    recording = lhotse.Recording("r", [source], SAMPLE_RATE, SAMPLE_RATE, 1.0)
    said = lhotse.SupervisionSegment("s", "r", 0.0, 1.0, text="好")
    cut = lhotse.MonoCut("c", 0.0, 1.0, 0, recording=recording, supervisions=[said])
    path = folder / "cuts.jsonl.gz"
    lhotse.CutSet.from_cuts([cut.pad(2.0) if mixed else cut]).to_file(path)
    return path


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("target", ["out.jsonl", "out.jsonl.gz", "shar"])
def test_no_command_is_run_unless_it_is_allowed(tmp_path: Path, mixed: bool, target: str) -> None:
    cuts = command_cuts(tmp_path, mixed)
    with pytest.raises(InputError, match=r"comes from a command .*--allow-commands"):
        convert(cuts, tmp_path / target)
    assert [one.name for one in tmp_path.iterdir()] == ["cuts.jsonl.gz"]
    # Allowed, it runs; what it gives is no sound.
    convert(cuts, tmp_path / "allowed.jsonl", allow_commands=True)
    assert (tmp_path / "ran").exists()


def test_ids_that_would_share_a_file_do_not(tmp_path: Path, tone: Floats) -> None:
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for number in range(3):
            buffer = io.BytesIO()
            soundfile.write(buffer, tone[: 4000 * (number + 1)], SAMPLE_RATE, format="FLAC")
            info = tarfile.TarInfo(f"{number}.flac")
            info.size = len(buffer.getvalue())
            tar.addfile(info, io.BytesIO(buffer.getvalue()))
    ids = ["x/y", "x_y", "X_Y"]
    rows = [
        {"id": id, "audio": f"{i}.flac", "tar": "some.tar", "text": "a", "language": "en"}
        for i, id in enumerate(ids)
    ]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert convert(tmp_path / "corpus.jsonl", tmp_path / "cuts.jsonl.gz").written == 3
    convert(tmp_path / "cuts.jsonl.gz", tmp_path / "back.jsonl")
    back = read_manifest(tmp_path / "back.jsonl")
    assert [one.id for one in back] == ids
    assert [len(read_audio(one.source())) for one in back] == [4000, 8000, 12000]


def test_parts_of_equal_ids_are_packed_apart(tmp_path: Path, tone: Floats) -> None:
    import lhotse

    soundfile.write(tmp_path / "long.wav", tone, SAMPLE_RATE)
    recording = lhotse.Recording.from_file(tmp_path / "long.wav")
    said = lhotse.SupervisionSegment("s", "long", 0.0, 0.2, text="好")
    cuts = [
        lhotse.MonoCut("part", 0.1, seconds, 0, recording=recording, supervisions=[said])
        for seconds in (0.3, 0.5)
    ]
    lhotse.CutSet(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    convert(tmp_path / "cuts.jsonl.gz", tmp_path / "out.jsonl")
    assert [len(read_audio(one.source())) for one in read_manifest(tmp_path / "out.jsonl")] == [4800, 8000]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("target", ["out.jsonl", "out.jsonl.gz", "shar"])
def test_a_conversion_that_failed_leaves_nothing_and_can_be_tried_again(
    manifest: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(tmp_path.iterdir())

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("nim4asr.files._sync", full)
        context.setattr("os.fsync", full)
        with pytest.raises(InputError, match="No space left"):
            convert(manifest, tmp_path / target)
    assert sorted(tmp_path.iterdir()) == before
    assert convert(manifest, tmp_path / target).written == 2


@pytest.mark.parametrize("damage", ["cut", "text", "nested"])
def test_damaged_cuts_are_told_in_a_sentence(manifest: Path, tmp_path: Path, damage: str) -> None:
    convert(manifest, tmp_path / "good.jsonl.gz")
    whole, bad = (tmp_path / "good.jsonl.gz").read_bytes(), tmp_path / "bad.jsonl.gz"
    texts = {"text": b'{"id": 3}\n', "nested": b"[" * 100_000}
    bad.write_bytes(whole[:-30] if damage == "cut" else gzip.compress(texts[damage]))
    with pytest.raises(InputError, match="no cuts of Lhotse, or damaged"):
        convert(bad, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
