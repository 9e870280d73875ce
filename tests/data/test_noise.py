"""Noise and babble out of an archive."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.noise import NoiseArchive, NoiseConfig
from nim4asr.data.preparation import prepare_noises
from nim4asr.errors import InputError


def archive(path: Path, members: dict[str, Floats | bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, sound in members.items():
            buffer = io.BytesIO()
            if isinstance(sound, bytes):
                buffer.write(sound)
            else:
                soundfile.write(buffer, sound, SAMPLE_RATE, format="WAV")
            info = tarfile.TarInfo(name)
            info.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(info, buffer)
    return path


def test_noise_comes_from_an_archive(tmp_path: Path, tone: Floats) -> None:
    members: dict[str, Floats | bytes] = {f"babble_sources/{n}.wav": tone * n / 10 for n in range(8)}
    noise = NoiseArchive(str(archive(tmp_path / "noise.tar", {**members, "hum.wav": tone})), babble_share=0.5)
    assert len(noise.names) == 9
    random = np.random.default_rng(0)
    drawn = [noise.draw(40_000, random) for _ in range(6)]
    assert all(len(one) == 40_000 and np.abs(one).max() > 0 for one in drawn)


def test_a_noise_that_cannot_be_read_is_silence(tmp_path: Path) -> None:
    noise = NoiseArchive(str(archive(tmp_path / "noise.tar", {"broken.wav": b"no sound"})))
    assert not noise.draw(100, np.random.default_rng(0)).any()


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no noise"):
        NoiseArchive(str(archive(tmp_path / "noise.tar", {})))


def test_prepared_noises_are_the_recordings_and_babble(tmp_path: Path, tone: Floats) -> None:
    members: dict[str, Floats | bytes] = {f"babble_sources/{n}.wav": tone * n / 10 for n in range(8)}
    tar = archive(tmp_path / "noise.tar", {**members, "hum.wav": np.tile(tone, 3), "broken.wav": b"no sound"})
    noises = prepare_noises(tar, tmp_path / "features", KaldiFeatures(), babbles=2)
    # Three seconds of hum, and two times twenty seconds of babble.
    assert [len(noise) for noise in noises] == [298, 1998, 1998]
    assert not np.allclose(noises[1], noises[2])


@pytest.mark.parametrize("values", [{"share": 2.0}, {"share": -0.1}, {"max_silence_s": -1.0}])
def test_impossible_noise(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="share of noise"):
        NoiseConfig(**values)  # type: ignore[arg-type]
