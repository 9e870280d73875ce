import math

import numpy as np
import pytest
import torch

from nim4asr.analysis.entropy import (
    Aligned,
    ProbeConfig,
    Said,
    _fit,
    _phonetic,
    _semantic,
    align_utterance,
    measure,
    spectral_entropy,
)
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load
from nim4asr.model.folder import bundled

PROBES = ProbeConfig(steps=250, hidden=32)


def test_spectral_entropy_is_0_on_a_line_and_1_when_even() -> None:
    torch.manual_seed(0)
    line = torch.randn(500, 1) @ torch.randn(1, 8)
    assert spectral_entropy(line) == pytest.approx(0.0, abs=1e-3)
    assert spectral_entropy(torch.randn(20000, 8)) == pytest.approx(1.0, abs=1e-2)
    # Two directions of eight, alike: log 2 / log 8.
    plane = torch.zeros(20000, 8)
    plane[:, :2] = torch.randn(20000, 2)
    assert spectral_entropy(plane) == pytest.approx(math.log(2) / math.log(8), abs=1e-2)
    assert spectral_entropy(torch.zeros(5, 8)) == 0.0


def corpus(homophones_told: bool, phonemes_told: bool = True) -> tuple[list[torch.Tensor], list[Aligned]]:
    """Words a and b of the same sound, and c of another; a frame tells the phoneme, and perhaps which word it
    is.
    """
    random = np.random.default_rng(0)
    heard, aligned = [], []
    for _ in range(60):
        words, frames = [], []
        for place in range(8):
            word = int(random.integers(3))
            phoneme = 5 if word < 2 else 9
            frame = torch.from_numpy(random.standard_normal(16) * 0.1).float()
            if phonemes_told:
                frame[phoneme % 16] += 1
            if homophones_told:
                frame[10 + word] += 1
            frames.append(frame)
            window = (0, 0, phoneme, 0, 0, 0, 0, 0, 0, 0)
            words.append(Said(window, "abc"[word], place, place + 1))
        heard.append(torch.stack(frames))
        phonemes = tuple((said.phonemes[2], place) for place, said in enumerate(words))
        aligned.append(Aligned(np.zeros((1, 80), np.float32), phonemes, tuple(words)))
    return heard, aligned


def test_an_encoder_of_sounds_alone_and_one_of_words() -> None:
    sounds, words = corpus(homophones_told=False), corpus(homophones_told=True)
    assert _phonetic(*sounds, PROBES) == pytest.approx(1.0, abs=0.05)
    assert _semantic(*sounds, PROBES) == pytest.approx(0.0, abs=0.1)
    assert _semantic(*words, PROBES) > 0.8
    nothing = corpus(homophones_told=False, phonemes_told=False)
    assert _phonetic(*nothing, PROBES) < 0.1


def test_too_little_to_learn_from() -> None:
    heard, aligned = corpus(True)
    with pytest.raises(InputError, match="too few"):
        _phonetic(heard[:3], aligned[:3], PROBES)


def test_words_are_placed_in_real_speech(speech: Floats) -> None:
    checkpoint = load(bundled())
    aligned = align_utterance(checkpoint, speech, "what do you want")
    assert aligned is not None
    assert [said.word for said in aligned.words] == ["what", "do", "you", "want"]
    starts = [said.start for said in aligned.words]
    assert starts == sorted(starts)
    assert all(len(said.phonemes) == 10 and said.end > said.start for said in aligned.words)
    assert align_utterance(checkpoint, speech, "what do you want " * 50) is None


def test_a_checkpoint_compared_with_itself(toy_checkpoint: Checkpoint) -> None:
    _, aligned = corpus(True)
    random = np.random.default_rng(0)
    features = [random.standard_normal((70, 80)).astype(np.float32) * 5 + 8 for _ in aligned]
    utterances = [Aligned(f, one.phonemes, one.words) for f, one in zip(features, aligned, strict=True)]
    first, frames = measure("toy", toy_checkpoint, utterances, None, PROBES)
    again, _ = measure("again", toy_checkpoint, utterances, frames, PROBES)
    assert first.cka == 1.0 and again.cka == pytest.approx(1.0)
    assert (first.nse, first.pai, first.csai) == (again.nse, again.pai, again.csai)


def test_a_probe_is_judged_on_what_neither_trained_nor_stopped_it() -> None:
    torch.manual_seed(0)
    labels = torch.randint(2, (300,))
    inputs = torch.randn(300, 4) + 3.0 * labels[:, None]
    # The judged ones have the other label: the better a probe has learnt, the worse it is on them.
    parts, asked = (
        [inputs[:200], inputs[200:250], inputs[250:]],
        [labels[:200], labels[200:250], 1 - labels[250:]],
    )

    def fitted(stopped_by: int) -> float:
        torch.manual_seed(1)
        order = [0, stopped_by, 2]
        probe = torch.nn.Linear(4, 2)
        return _fit(probe, [parts[i] for i in order], [asked[i] for i in order], PROBES)

    # Stopped by the judged ones themselves, it would be stopped at once.
    assert fitted(1) > fitted(2) + 1.0
    with pytest.raises(ValueError, match="held_out"):
        ProbeConfig(held_out=2)
