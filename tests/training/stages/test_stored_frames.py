"""Stages on stored frames: what they learn is what they would of features, and the encoder runs once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.batches import WeightedCorpus
from nim4asr.data.store import FeatureStore, LabeledUtterance, build_store
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.shapes import ChunkScheme
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.progress import no_progress
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData, StoredFrames, TrainingData
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import SpeechStage
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.flat_start import FlatStart
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import ChunkSampling, Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.stages.text_pretraining import TextPretraining
from training.toys import LOOP, TEXTS

CPU = torch.device("cpu")
SCHEME = ChunkScheme(5, 2)
# Every batch in the chunks in which the frames are stored.
ALWAYS = ChunkSampling(0.0, frames=(5, 5), left=(2, 2))
FEATURES = SpeechData(8.0, seed=2)
FRAMES = replace(FEATURES, frames=StoredFrames((SCHEME, SCHEME)))


def listen(number: int) -> tuple[LabeledUtterance, Floats]:
    text = TEXTS[number % 2]
    samples = np.random.default_rng(number).standard_normal((10 + number) * SAMPLE_RATE // 10) * 0.1
    phonemes = tuple(TABLE.encode(pronounce(text)))
    return LabeledUtterance(f"u{number}", text, "en", phonemes), samples.astype(np.float32)


@pytest.fixture
def data(toy_checkpoint: Checkpoint, tmp_path: Path) -> TrainingData:
    build_store(tmp_path / "corpus", range(8), listen, KaldiFeatures(), workers=1)
    sources = [WeightedCorpus(FeatureStore(tmp_path / "corpus"), 1.5)]
    return TrainingData(sources, toy_checkpoint.frontend, frames=tmp_path / "frames")


STAGES: list[tuple[str, Callable[[SpeechData], SpeechStage]]] = [
    ("head", lambda data: PhonemeHeadTuning(LOOP, data, views=1, chunks=ALWAYS)),
    ("alignment", lambda data: Alignment(LOOP, data, chunks=ALWAYS)),
    ("imitation", lambda data: Alignment(LOOP, data, imitate=True, chunks=ALWAYS)),
    ("ia-sft", lambda data: IaSft(LOOP, data, chunks=ALWAYS)),
]


@pytest.mark.parametrize("make", [make for _, make in STAGES], ids=[name for name, _ in STAGES])
def test_stored_frames_teach_what_features_teach(
    model: TrainableModel, data: TrainingData, make: Callable[[SpeechData], SpeechStage]
) -> None:
    of_features, of_frames = make(FEATURES), make(FRAMES)
    of_frames.prepare(data, model, CPU, no_progress)
    batches, stored = of_features.batches(data, model), of_frames.batches(data, model)
    # Of the first epoch: every utterance is drawn once, and half of them twice.
    for number in range(2):
        plain, frames = (each(number, np.random.default_rng(number)) for each in (batches, stored))
        assert plain.ids == frames.ids and plain.texts == frames.texts
        losses = [
            float(mean_loss(stage.objective(model)(batch, np.random.default_rng(1))).detach())
            for stage, batch in ((of_features, plain), (of_frames, frames))
        ]
        assert losses[1] == pytest.approx(losses[0], rel=2e-3)


def test_frames_are_shared_by_stages_alike_and_dropped_by_the_next(
    model: TrainableModel, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    forward = model.network.encoder.forward

    def listening(features: torch.Tensor, *rest: Any) -> Any:
        heard.append(len(features))
        return forward(features, *rest)

    monkeypatch.setattr(model.network.encoder, "forward", listening)
    assert data.frames is not None
    Alignment(LOOP, FRAMES).prepare(data, model, CPU, no_progress)
    assert sum(heard) == 16
    ia_sft = IaSft(LOOP, replace(FRAMES, batch_seconds=3.0))
    ia_sft.prepare(data, model, CPU, no_progress)
    batch = ia_sft.batches(data, model)(0, np.random.default_rng(0))
    ia_sft.objective(model)(batch, np.random.default_rng(0))
    assert sum(heard) == 16 and len(list(data.frames.iterdir())) == 1
    texts = TextPretraining(LOOP, batch_tokens=400)
    MixedText(JointSft(LOOP, FEATURES), texts).prepare(data, model, CPU, no_progress)
    assert sum(heard) == 16 and not list(data.frames.iterdir())


@pytest.mark.parametrize("make", [FlatStart, Pretraining, JointSft, ContextSft, Rl])
def test_a_stage_that_trains_the_encoder_reads_no_frames_of_it(make: Callable[..., SpeechStage]) -> None:
    with pytest.raises(ValueError, match="cannot read stored frames"):
        make(LOOP, FRAMES)


def test_frames_that_cannot_be(model: TrainableModel) -> None:
    with pytest.raises(ValueError, match="one view a batch, not 2"):
        PhonemeHeadTuning(LOOP, FRAMES)
    with pytest.raises(ValueError, match="one augmentation"):
        StoredFrames(())
