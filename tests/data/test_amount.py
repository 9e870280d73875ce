from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.data.amount import Amount, amount_of
from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError


def utterance(folder: Path, seconds: float, told: bool) -> Utterance:
    path = folder / f"{seconds}.wav"
    soundfile.write(path, np.zeros(round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    return Utterance(path.name, str(path), "text", "en", duration=seconds if told else None)


def test_durations_are_the_manifest_s(tmp_path: Path) -> None:
    some = [replace(utterance(tmp_path, 1.0, True), duration=seconds) for seconds in (2.0, 3.5)]
    assert amount_of(some) == Amount(2, 5.5)
    assert amount_of([]) == Amount(0, 0.0)


def test_what_no_manifest_tells_is_measured(tmp_path: Path) -> None:
    some = [utterance(tmp_path, 2.0, True), utterance(tmp_path, 1.0, False), utterance(tmp_path, 3.0, False)]
    lost = replace(some[2], audio=str(tmp_path / "none.wav"))
    assert amount_of([*some, lost]) == Amount(4, pytest.approx(2.0 + 3 * 2.0))
    with pytest.raises(InputError, match=r"1 utterances have no duration .* \S+none\.wav"):
        amount_of([some[0], lost])


def test_a_few_recordings_stand_for_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def reading(source: object) -> object:
        read.append(source)
        return np.zeros(2 * SAMPLE_RATE, np.float32)

    monkeypatch.setattr("nim4asr.data.amount.read_audio", reading)
    many = [Utterance(str(n), f"{n}.wav", "text", "en") for n in range(5000)]
    assert amount_of(many) == Amount(5000, 10_000.0)
    assert len(read) == 200 and len(set(map(str, read))) == 200
