from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.acoustics.frontend import features_of
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.manifest import Utterance
from nim4asr.data.recordings import Recordings
from nim4asr.errors import InputError
from nim4asr.phonemes import TABLE, pronounce


@pytest.fixture
def utterance(tmp_path: Path, tone: Floats) -> Utterance:
    path = tmp_path / "one.flac"
    soundfile.write(path, tone, SAMPLE_RATE)
    return Utterance("one", str(path), "你好", "zh", duration=1.0)


def test_a_recording_is_read_as_it_is_or_varied(utterance: Utterance) -> None:
    recordings = Recordings([utterance], KaldiFeatures())
    (entry,) = recordings.utterances
    assert entry.frames == 100
    assert entry.phonemes == tuple(TABLE.encode(pronounce("你好")))
    np.testing.assert_allclose(
        recordings.features(entry), features_of(read_audio(Path(utterance.audio)), KaldiFeatures())
    )
    varied = [
        recordings.augmented(entry, AugmentationConfig(), (), np.random.default_rng(seed))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(varied[0], varied[1])
    assert varied[0].shape != varied[2].shape or not np.array_equal(varied[0], varied[2])


def test_absurd_utterances_are_left_out_and_listed(utterance: Utterance) -> None:
    absurd = [
        replace(utterance, id="no duration", duration=None),
        replace(utterance, id="no sound", text="。"),
        replace(utterance, id="too fast", text="今天天气很好" * 20),
        replace(utterance, id="too slow", duration=60.0),
    ]
    noise = replace(utterance, id="noise", text="")
    recordings = Recordings([utterance, *absurd, noise], KaldiFeatures())
    assert [entry.id for entry in recordings.utterances] == ["one", "noise"]
    assert recordings.left_out.keys() == {one.id for one in absurd}
    assert recordings.left_out["too fast"] == "240 phonemes in 1 s"
    with pytest.raises(InputError, match="none of 4 utterances"):
        Recordings(absurd, KaldiFeatures())


def test_a_recording_that_cannot_be_read(utterance: Utterance, tmp_path: Path) -> None:
    recordings = Recordings([replace(utterance, audio=str(tmp_path / "gone.wav"))], KaldiFeatures())
    with pytest.raises(InputError, match=r"gone\.wav"):
        recordings.features(recordings.utterances[0])


def test_a_recording_that_is_shorter_than_its_manifest_says(utterance: Utterance, tmp_path: Path) -> None:
    longer = Recordings([replace(utterance, duration=1.5)], KaldiFeatures())
    for read in (longer.samples, longer.features):
        with pytest.raises(InputError, match=r"1\.00 s of sound, of which the manifest says 1\.50"):
            read(longer.utterances[0])
    with pytest.raises(InputError, match="the manifest says"):
        longer.augmented(longer.utterances[0], AugmentationConfig(), (), np.random.default_rng(0))
    torn = tmp_path / "torn.wav"
    soundfile.write(torn, np.zeros(32_000), SAMPLE_RATE)
    torn.write_bytes(torn.read_bytes()[:40_000])
    damaged = Recordings([replace(utterance, audio=str(torn), duration=1.0)], KaldiFeatures())
    with pytest.raises(InputError, match="cut short"):
        damaged.samples(damaged.utterances[0])
