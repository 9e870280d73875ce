from pathlib import Path

import numpy as np
import pytest
import soundfile

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4
from nim4asr.model.shapes import ChunkScheme, ConformerConfig
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.offline import Recognizer
from nim4asr.runtime.torch_network import TorchCache, torch_model


@pytest.fixture
def recognizer(toy_checkpoint: Checkpoint) -> Recognizer:
    return Recognizer(torch_model(toy_checkpoint))


def test_a_file_its_bytes_and_its_samples_read_alike(
    recognizer: Recognizer, speech: Floats, tmp_path: Path
) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech, SAMPLE_RATE, subtype="FLOAT")
    by_path = recognizer.transcribe(path)
    assert by_path.audio == str(path)
    assert by_path.duration == pytest.approx(len(speech) / SAMPLE_RATE)
    assert by_path.real_time_factor > 0
    assert by_path.segments == recognizer.transcribe(path.read_bytes()).segments
    assert by_path.segments == recognizer.transcribe(speech, sample_rate=SAMPLE_RATE).segments
    for segment in by_path.segments:
        assert 0 <= segment.start < segment.end <= by_path.duration + 0.01
        assert 0 <= segment.confidence <= 1


def test_no_speech_no_decoding(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the language model was asked")

    assert recognizer.model.prompt_cache
    monkeypatch.setattr(TorchCache, "append", never)
    noise = (np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE) * 0.02).astype(np.float32)
    for samples in (np.zeros(0, np.float32), np.zeros(3 * SAMPLE_RATE, np.float32), noise):
        assert recognizer.transcribe(samples, sample_rate=SAMPLE_RATE).text == ""


def test_batches_do_not_change_the_result(toy_checkpoint: Checkpoint, speech: Floats) -> None:
    pause = np.zeros(SAMPLE_RATE, np.float32)
    samples = np.concatenate([speech, pause, speech[: len(speech) // 2], pause, speech])
    together = Recognizer(torch_model(toy_checkpoint)).transcribe(samples, sample_rate=SAMPLE_RATE)
    alone = Recognizer(torch_model(toy_checkpoint), RecognitionConfig(batch_seconds=0.1)).transcribe(
        samples, sample_rate=SAMPLE_RATE
    )
    assert len(together.segments) >= 3
    assert [s.text for s in together.segments] == [s.text for s in alone.segments]
    assert [s.phonemes for s in together.segments] == [s.phonemes for s in alone.segments]


def test_the_encoder_may_see_what_a_live_stream_would(toy_checkpoint: Checkpoint, speech: Floats) -> None:
    config = RecognitionConfig(chunks=ChunkScheme(4, 1))
    whole = Recognizer(torch_model(toy_checkpoint)).transcribe(speech, sample_rate=SAMPLE_RATE)
    chunked = Recognizer(torch_model(toy_checkpoint), config).transcribe(speech, sample_rate=SAMPLE_RATE)
    assert whole.segments[0].phonemes != chunked.segments[0].phonemes


def test_an_encoder_alone_cannot_transcribe(toy_checkpoint: Checkpoint) -> None:
    network = Nim4(Nim4Config("half", ConformerConfig(16, 1, 2)))
    with pytest.raises(InputError, match="cannot transcribe"):
        torch_model(Checkpoint(network, toy_checkpoint.normalization))


def test_segments_come_as_they_are_done(recognizer: Recognizer, speech: Floats) -> None:
    pause = np.zeros(SAMPLE_RATE, np.float32)
    samples = np.concatenate([speech, pause, speech[4000:], pause, speech])
    whole = recognizer.transcribe(samples, sample_rate=SAMPLE_RATE).segments
    assert len(whole) == 3
    assert tuple(recognizer.iter_segments(samples, sample_rate=SAMPLE_RATE)) == whole
    one_by_one = Recognizer(recognizer.model, RecognitionConfig(batch_seconds=0.1))
    coming = one_by_one.iter_segments(samples, sample_rate=SAMPLE_RATE)
    first = next(coming)
    assert (first.start, first.text) == (whole[0].start, whole[0].text)
    coming.close()  # type: ignore[attr-defined]
    assert "".join(token.text for token in first.tokens).strip() == first.text
    assert np.exp(np.mean([token.log_prob for token in first.tokens])) == pytest.approx(
        first.confidence, abs=0.2
    )


def test_a_recording_that_breaks_off_is_told_after_what_was_heard(
    recognizer: Recognizer, speech: Floats, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such file"):
        next(recognizer.iter_segments(tmp_path / "none.wav"))
