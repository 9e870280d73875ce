"""A whole recipe in seconds: a toy network on a toy corpus, through every stage, stopped and gone on with."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import toy_config
from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import load
from nim4asr.recipes import nano
from nim4asr.recognition.offline import Recogniser
from nim4asr.training.alignment import AlignmentConfig
from nim4asr.training.hints import HintSampling
from nim4asr.training.loop import LoopConfig
from nim4asr.training.optimiser import OptimiserConfig
from nim4asr.training.pretraining import PretrainingConfig
from nim4asr.training.programme import Corpus, Programme, SpeechStage, run_programme
from nim4asr.training.sft import SftConfig
from nim4asr.training.text_pretraining import TextPretrainingConfig

LOOP = LoopConfig(2, OptimiserConfig(1e-3), warmup_steps=1, log_every=1, evaluate_every=2)


def shown(items, what, total, done=0):  # type: ignore[no-untyped-def]
    return iter(items)


@pytest.fixture
def programme(tmp_path: Path) -> Programme:
    random = np.random.default_rng(0)
    rows = []
    for number, text in enumerate(
        ["今天天气很好", "how are you", "你好", "hello world", "天气", "the weather"]
    ):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, random.standard_normal(SAMPLE_RATE * 2) * 0.1, SAMPLE_RATE)
        split = "dev" if number > 3 else "train"
        rows.append({"audio": path.name, "text": text, "language": "zh", "split": split})
    manifest = tmp_path / "toy.jsonl"
    manifest.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("今天很好\nthe wind is fine\n" * 5, encoding="utf-8")
    with tarfile.open(tmp_path / "noise.tar", "w") as archive:
        for number in range(9):
            buffer = io.BytesIO()
            soundfile.write(buffer, random.standard_normal(SAMPLE_RATE * 2) * 0.1, SAMPLE_RATE, format="WAV")
            info = tarfile.TarInfo(f"{'babble_sources' if number else 'hum'}/{number}.wav")
            info.size = buffer.tell()
            buffer.seek(0)
            archive.addfile(info, buffer)
    return Programme(
        network=toy_config,
        vocabulary=80,
        corpora={"toy": Corpus(manifest, 2.0)},
        texts=[tmp_path / "text.txt"],
        noises=tmp_path / "noise.tar",
        synthetic=None,
        stages={
            "pretraining": SpeechStage(PretrainingConfig(LOOP, 10.0)),
            "text-pretraining": TextPretrainingConfig(LOOP, 200, hints=HintSampling()),
            "alignment": SpeechStage(AlignmentConfig(LOOP, 10.0)),
            "ia-sft": SpeechStage(SftConfig(LOOP, joint=False, batch_seconds=10.0, hints=HintSampling())),
            "joint-sft": SpeechStage(SftConfig(LOOP, joint=True, batch_seconds=10.0)),
        },
        dev=("toy",),
    )


def test_from_corpora_to_a_model_that_transcribes(
    programme: Programme, tmp_path: Path, speech: Floats
) -> None:
    folder = tmp_path / "run"
    run_programme(programme, folder, None, shown)
    checkpoint = load(folder / "model")
    Recogniser(checkpoint).transcribe((speech, SAMPLE_RATE))
    log = [json.loads(line) for line in (folder / "pretraining/log.jsonl").read_text().splitlines()]
    assert any("toy" in row for row in log)
    for stage in programme.stages:
        assert json.loads((folder / stage / "state/step.json").read_text()) == {"step": 2}
    # Started again, it trains nothing anew and gives the same model.
    run_programme(programme, folder, None, shown)
    again = load(folder / "model").network.state_dict()
    assert all(value.equal(again[name]) for name, value in checkpoint.network.state_dict().items())


def test_stages_one_by_one_are_the_whole(programme: Programme, tmp_path: Path) -> None:
    run_programme(programme, tmp_path / "whole", None, shown)
    with pytest.raises(InputError, match="'pretraining' comes before 'alignment'"):
        run_programme(programme, tmp_path / "steps", "alignment", shown)
    for stage in programme.stages:
        run_programme(programme, tmp_path / "steps", stage, shown)
    whole, steps = (load(tmp_path / name / "model").network.state_dict() for name in ("whole", "steps"))
    assert all(value.equal(steps[name]) for name, value in whole.items())


def test_beginning_from_another_model(programme: Programme, toy_model: Path, tmp_path: Path) -> None:
    short = replace(
        programme,
        stages={"words": programme.stages["pretraining"], "alignment": programme.stages["alignment"]},
        first_words=("words",),
    )
    run_programme(short, tmp_path / "run", None, shown, toy_model)
    assert not (tmp_path / "run/words").exists()
    begun, ended = load(toy_model), load(tmp_path / "run/model")
    assert (begun.cmvn.mean == ended.cmvn.mean).all()
    weights = ended.network.encoder.state_dict()
    for name, value in begun.network.encoder.state_dict().items():
        np.testing.assert_allclose(weights[name], value, atol=1e-3)
    other = replace(short, network=lambda size: nano.network(size))
    with pytest.raises(InputError, match="cannot begin this recipe"):
        run_programme(other, tmp_path / "other", None, shown, toy_model)


def test_data_that_hold_nothing(programme: Programme, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no stage"):
        run_programme(programme, tmp_path / "run", "magic", shown)
    empty = replace(programme, corpora={"toy": Corpus(tmp_path / "none.jsonl")})
    with pytest.raises(InputError, match="no such manifest"):
        run_programme(empty, tmp_path / "run", None, shown)


def test_nano_is_a_whole_programme(tmp_path: Path) -> None:
    programme = nano.programme(tmp_path)
    assert list(programme.stages)[-1] == "joint-sft"
    assert programme.network(6000).llm == nano.network().llm
