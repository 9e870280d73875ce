import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.audio.reading import read_audio
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
