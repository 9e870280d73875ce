"""Corpora of synthetic speech, by a speaker of tones."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from nim4asr.data.manifest import read_manifest
from nim4asr.data.synthesis.corpus import draw_texts, synthesize_corpus
from nim4asr.errors import InputError

TEXTS = ["how are you", "fine", "no voice for this", "thanks", "and you"]


class Tones:
    """Says a text as a tone of a drawn pitch, a tenth of a second a letter; stops after ``stop`` texts."""

    def __init__(self, stop: int = 1000) -> None:
        self.said: list[str] = []
        self._stop = stop

    def say(self, text: str, language: str, random: Random) -> tuple[str, Floats]:
        if len(self.said) == self._stop:
            raise KeyboardInterrupt
        if "no voice" in text:
            raise InputError("there is no voice")
        self.said.append(text)
        hz = random.randint(200, 800)
        return f"tone-{hz}", (0.3 * np.sin(2 * np.pi * hz * np.arange(1600 * len(text)) / 16_000)).astype(
            np.float32
        )


def test_a_corpus_is_a_manifest_that_training_reads(tmp_path: Path) -> None:
    made = synthesize_corpus(TEXTS, "en", Tones(), tmp_path / "tones.jsonl", seed=3, licence="ours")
    assert (made.utterances, made.left_out) == (4, 1)
    utterances = read_manifest(tmp_path / "tones.jsonl")
    assert [one.text for one in utterances] == [text for text in TEXTS if "no voice" not in text]
    assert made.seconds == pytest.approx(sum(len(one.text) for one in utterances) / 10)
    for one in utterances:
        samples = read_audio(one.source())
        assert len(samples) / 16_000 == pytest.approx(one.duration, abs=0.03)
        loudest = np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples)
        assert one.speaker == f"tone-{loudest:.0f}" or abs(float(one.speaker[5:]) - loudest) < 5
        assert (one.language, one.split) == ("en", "train")
    (left_out,) = (tmp_path / "tones-left-out.jsonl").read_text().splitlines()
    assert json.loads(left_out)["reason"] == "there is no voice"


@pytest.mark.parametrize("torn", ["", '{"id": "tones-0-0000'])
def test_what_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, torn: str) -> None:
    whole, parts = tmp_path / "whole/tones.jsonl", tmp_path / "parts/tones.jsonl"
    whole.parent.mkdir()
    parts.parent.mkdir()
    synthesize_corpus(TEXTS, "en", Tones(), whole)
    with pytest.raises(KeyboardInterrupt):
        synthesize_corpus(TEXTS, "en", Tones(2), parts)
    with parts.open("a") as file:
        file.write(torn)
    again = Tones()
    made = synthesize_corpus(TEXTS, "en", again, parts)
    assert again.said == ["thanks", "and you"] and made.utterances == 4
    assert parts.read_text() == whole.read_text()
    for clip in (whole.parent / "tones").iterdir():
        theirs = read_audio(parts.parent / "tones" / clip.name)
        np.testing.assert_allclose(read_audio(clip), theirs, atol=1e-3)


def test_another_seed_or_other_texts_are_another_corpus(tmp_path: Path) -> None:
    manifest = tmp_path / "tones.jsonl"
    synthesize_corpus(TEXTS, "en", Tones(), manifest)
    before = manifest.read_bytes()
    for texts, seed in ((TEXTS, 1), (["other", *TEXTS], 0), (TEXTS[:1], 0)):
        with pytest.raises(InputError, match="these texts and this seed do not make"):
            synthesize_corpus(texts, "en", Tones(), manifest, seed)
    assert manifest.read_bytes() == before


def test_texts_are_drawn_once_each_in_an_order_of_the_seed() -> None:
    texts = ["a", "b", "c", "b", "d"]
    assert sorted(draw_texts(texts, None, 0)) == ["a", "b", "c", "d"]
    assert draw_texts(texts, 3, 5) == draw_texts(texts[::-1], 3, 5)
    assert draw_texts(texts, 3, 5) == draw_texts(texts, 99, 5)[:3]
    assert len({tuple(draw_texts(texts, 2, seed)) for seed in range(20)}) > 5
