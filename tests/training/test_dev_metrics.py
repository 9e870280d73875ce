"""Errors on dev utterances: the clips, which the bundled model gets right."""

from dataclasses import replace
from pathlib import Path

import pytest

from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.data.batches import Collator
from nim4asr.data.manifest import Utterance
from nim4asr.data.preparation import prepare_speech
from nim4asr.data.store import FeatureStore
from nim4asr.model.checkpoint import load
from nim4asr.model.folder import bundled
from nim4asr.training.dev_metrics import dev_errors
from nim4asr.training.model import TrainableModel

CLIP_FOLDER = Path(__file__).parents[1] / "clips"
SAID = {
    "en-1": "What do you want?",
    "en-2": "Where are you going?",
    "zh-1": "他是中国人。",
    "zh-2": "我不知道。",
}


@pytest.fixture(scope="module")
def model() -> TrainableModel:
    checkpoint = load(bundled())
    assert checkpoint.tokenizer is not None
    return TrainableModel(checkpoint.network.eval(), checkpoint.tokenizer)


@pytest.fixture(scope="module")
def clean() -> Collator:
    return Collator(load(bundled()).frontend)


def store_of(folder: Path, said: dict[str, str]) -> FeatureStore:
    utterances = [
        Utterance(name, str(CLIP_FOLDER / f"{name}.flac"), text, name[:2]) for name, text in said.items()
    ]
    prepare_speech(utterances, folder, KaldiFeatures())
    return FeatureStore(folder)


def test_characters_and_words_and_phonemes_are_counted(
    model: TrainableModel, clean: Collator, tmp_path: Path
) -> None:
    errors = dev_errors(model, store_of(tmp_path, SAID), clean)
    assert errors.text.errors == 0 and errors.text.reference == 4 + 4 + 5 + 4
    assert errors.phonemes.rate is not None and errors.phonemes.rate < 0.5
    alone = dev_errors(model, store_of(tmp_path, SAID), clean, write=False)
    assert alone.phonemes == errors.phonemes and alone.text.reference == 0


def test_what_was_not_said_is_an_error(model: TrainableModel, clean: Collator, tmp_path: Path) -> None:
    errors = dev_errors(model, store_of(tmp_path, {**SAID, "zh-2": "我知道。"}), clean)
    assert errors.text.insertions == 1 and errors.text.errors == 1


def test_only_so_many_are_heard(model: TrainableModel, clean: Collator, tmp_path: Path) -> None:
    store = store_of(tmp_path, SAID)
    errors = dev_errors(model, store, clean, most=2)
    assert errors.phonemes.reference == sum(len(one.phonemes) for one in store.utterances[::2])


def test_the_language_model_is_what_writes(model: TrainableModel, clean: Collator, tmp_path: Path) -> None:
    store = store_of(tmp_path, SAID)
    mute = replace(model, network=load(bundled()).network.eval())
    assert mute.network.adaptor is not None
    mute.network.adaptor.requires_grad_(False)
    for parameter in mute.network.adaptor.parameters():
        parameter.zero_()
    errors = dev_errors(mute, store, clean)
    assert errors.text.errors > 0 and errors.phonemes == dev_errors(model, store, clean).phonemes
