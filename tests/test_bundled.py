"""The model that comes with the library: its size, its card, and that it hears."""

import json
from pathlib import Path

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.model.folder import bundled
from nim4asr.recipes.nano import network
from nim4asr.recognition.offline import Recognizer

MOST_BYTES = 48 * 1000**2


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer.load()


def test_it_is_small_and_has_a_card() -> None:
    files = list(bundled().iterdir())
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    assert (bundled() / "README.md").exists()
    assert not any(file.suffix in (".bin", ".pt", ".pth", ".pkl") for file in files)


def test_it_is_the_recipes_network(recognizer: Recognizer) -> None:
    config = recognizer.model.config
    vocabulary = json.loads((bundled() / "config.json").read_text())["llm"]["vocab_size"]
    assert config == network(vocabulary)


def test_nothing_is_printed_on_silence_and_noise(recognizer: Recognizer) -> None:
    random = np.random.default_rng(0)
    for level in (0.0, 0.001, 0.05, 0.3):
        samples = (random.standard_normal(4 * SAMPLE_RATE) * level).astype(np.float32)
        assert recognizer.transcribe(samples, sample_rate=SAMPLE_RATE).text == ""


def test_clips_are_small() -> None:
    demo = Path(__file__).parent.parent / "demo"
    assert sum(file.stat().st_size for file in demo.iterdir()) < 1_000_000
