"""Speech and text in turns."""

from pathlib import Path

import numpy as np
import pytest

from nim4asr.acoustics.clock import FrameClock
from nim4asr.acoustics.frontend import Frontend
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.audio.samples import Floats
from nim4asr.data.batches import SpeechBatch, WeightedCorpus
from nim4asr.data.corpus import LabeledUtterance
from nim4asr.data.store import FeatureStore, build_store
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import TrainingData
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.text_pretraining import (
    TextBatch,
    TextPretraining,
)
from training.toys import LOOP, TEXTS, batch, blocks, text_sampler


def test_joint_sft_in_turns_has_the_parts_of_both(model: TrainableModel) -> None:
    objective = MixedText(JointSft(LOOP), TextPretraining(LOOP, batch_tokens=400)).objective(model)
    text, said = text_sampler(model)(0, np.random.default_rng(0)), batch()
    kinds: list[tuple[TextBatch | SpeechBatch, set[str]]] = [(text, {"text"}), (said, {"speech", "ctc"})]
    for one, held in kinds:
        parts = objective(one, np.random.default_rng(0))
        assert {name for name, part in parts.items() if float(part.count) > 0} == held
        assert parts.keys() == {"speech", "text", "ctc"} and parts["ctc"].weight == 0.3
    # The text's batch moves the language model; no sound, nothing else.
    mean_loss(objective(text, np.random.default_rng(0))).backward()
    moved = {name for name, p in model.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert blocks(moved) == {"llm"}


def _tone(number: int) -> tuple[LabeledUtterance, Floats]:
    samples = np.sin(np.arange(16000) * 0.1 * number).astype(np.float32)
    return LabeledUtterance(f"u{number}", "你好", "zh", (1, 2)), samples


def test_text_and_speech_in_turns(model: TrainableModel, tmp_path: Path) -> None:
    stage = MixedText(IaSft(LOOP), TextPretraining(LOOP, batch_tokens=400), text_share=0.4)
    objective = stage.objective(model)
    text, said = text_sampler(model)(0, np.random.default_rng(0)), batch()
    for one, kind in ((text, "text"), (said, "speech")):
        parts = objective(one, np.random.default_rng(0))
        assert {name for name, part in parts.items() if float(part.count) > 0} == {kind}
    frontend = Frontend(KaldiFeatures(), Cmvn.neutral(80), FrameClock(100, 4, 3))
    build_store(tmp_path / "store", [1, 2], _tone, KaldiFeatures(), workers=1)
    data = TrainingData([WeightedCorpus(FeatureStore(tmp_path / "store"))], frontend, texts=TEXTS)
    make = stage.batches(data, model)
    kinds = [isinstance(make(number, np.random.default_rng(0)), TextBatch) for number in range(200)]
    assert np.mean(kinds) == pytest.approx(0.4, abs=0.08)
