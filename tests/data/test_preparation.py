import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import Floats
from nim4asr.data.noise import NoiseArchive
from nim4asr.data.preparation import prepare_noises
from nim4asr.errors import InputError


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
    archive.unlink()
    assert len(prepare_noises(archive, tmp_path / "features", KaldiFeatures())) == 3
