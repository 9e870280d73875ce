import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.nim4 import Nim4
from nim4asr.model.shapes import ChunkScheme, ConformerConfig
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.events import Final
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.result import Segment
from nim4asr.runtime.torch_network import TorchCache, torch_model
from nim4asr.text.languages import LANGUAGES, foreign_to


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


def hum(level_db: float) -> Floats:
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sine: Floats = (np.sin(2 * np.pi * 100 * times) * np.sqrt(2) * 10 ** (level_db / 20)).astype(np.float32)
    return sine


def test_where_nothing_was_said_one_warning_has_the_level(recognizer: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "hum.wav"
    soundfile.write(path, hum(-52), SAMPLE_RATE, subtype="FLOAT")
    transcript = recognizer.transcribe(path)
    assert transcript.warnings == ()
    (warning,) = transcript.told
    assert warning.startswith(f"{path}: no speech was found (level -52 dBFS); if someone speaks, try")
    # The level is that of the file, not what it was made.
    (warning,) = recognizer.transcribe(path, gain="auto").told
    assert "(level -52 dBFS, +32 dB of gain)" in warning
    told: list[str] = []
    assert list(recognizer.iter_segments(path, warn=told.append)) == [] and len(told) == 1
    silence = recognizer.transcribe(np.zeros(SAMPLE_RATE, np.float32), sample_rate=SAMPLE_RATE)
    assert silence.told == ("no speech was found (the sound is silent)",)


def test_quiet_speech_is_heard_with_gain() -> None:
    import nim4asr

    speech = read_audio(CLIP_FOLDER / "zh-1.flac")
    # 16 bits have not much of it left.
    quiet = np.round(speech * 10 ** (-66 / 20) * 32768).astype(np.int16)
    recognizer = nim4asr.load()
    silent = recognizer.transcribe(quiet, sample_rate=SAMPLE_RATE)
    louder = recognizer.transcribe(quiet, sample_rate=SAMPLE_RATE, gain="auto")
    assert louder.text and not louder.warnings
    assert silent.text != louder.text


def test_channels_out_of_phase_are_heard_as_one_is(recognizer: Recognizer, speech: Floats) -> None:
    both = recognizer.transcribe(np.stack([speech, -speech], axis=1), sample_rate=SAMPLE_RATE)
    alone = recognizer.transcribe(speech, sample_rate=SAMPLE_RATE)
    # What is turned over is the same to the ear, and all but that to voice activity detection.
    times = [[time for s in heard.segments for time in (s.start, s.end)] for heard in (both, alone)]
    assert times[0] == pytest.approx(times[1], abs=0.1) and both.segments


def test_a_pipe_is_made_louder_too(recognizer: Recognizer, speech: Floats, tmp_path: Path) -> None:
    whole, pipe = tmp_path / "speech.wav", tmp_path / "pipe"
    soundfile.write(whole, speech * 0.01, SAMPLE_RATE, subtype="FLOAT")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(whole.read_bytes(),))
    writer.start()
    through = recognizer.transcribe(pipe, gain="auto")
    writer.join()
    assert through.segments == recognizer.transcribe(whole, gain="auto").segments and through.segments


def test_progress_is_told_to_the_end(recognizer: Recognizer, speech: Floats) -> None:
    told: list[float] = []
    whole = recognizer.transcribe(speech, sample_rate=SAMPLE_RATE, progress=told.append)
    assert told == sorted(told) and told[-1] == whole.duration


def two_speakers(speech: Floats) -> Floats:
    """A call: one speaks on the left, then another on the right."""
    silent = np.zeros(len(speech) + SAMPLE_RATE, np.float32)
    pause = np.zeros(SAMPLE_RATE, np.float32)
    return np.stack(
        [np.concatenate([pause, speech, silent]), np.concatenate([silent, speech, pause])], axis=1
    )


def test_each_channel_for_itself(recognizer: Recognizer, speech: Floats, tmp_path: Path) -> None:
    """Its segments are those of the channel alone, all in the order of time."""
    call = two_speakers(speech)
    path = tmp_path / "call.wav"
    soundfile.write(path, call, SAMPLE_RATE, subtype="FLOAT")
    told: list[float] = []
    found = recognizer.transcribe(path, channels="apart", progress=told.append)
    assert {segment.channel for segment in found.segments} == {1, 2}
    assert [segment.start for segment in found.segments] == sorted(
        segment.start for segment in found.segments
    )
    for channel in (1, 2):
        alone = recognizer.transcribe(np.ascontiguousarray(call[:, channel - 1]), sample_rate=SAMPLE_RATE)
        expected = tuple(replace(segment, channel=channel) for segment in alone.segments)
        assert tuple(s for s in found.segments if s.channel == channel) == expected
        assert recognizer.transcribe(path, channels=channel).segments == expected
        assert recognizer.transcribe(call, sample_rate=SAMPLE_RATE, channels=channel).segments == expected
    assert found.duration == pytest.approx(len(call) / SAMPLE_RATE)
    assert told == sorted(told) and told[-1] == pytest.approx(found.duration)


def test_channels_that_cannot_be(recognizer: Recognizer, speech: Floats) -> None:
    call = two_speakers(speech)
    with pytest.raises(InputError, match="there is no channel 3; the recording has 2 channels"):
        recognizer.transcribe(call, sample_rate=SAMPLE_RATE, channels=3)
    with pytest.raises(InputError, match="there is no channel 2; the recording has one channel"):
        recognizer.transcribe(speech, sample_rate=SAMPLE_RATE, channels=2)
    for wrong in (0, -1, "left", 1.5):
        with pytest.raises(InputError, match="mixed, apart, or a number from 1"):
            recognizer.transcribe(call, sample_rate=SAMPLE_RATE, channels=wrong)  # type: ignore[arg-type]


def test_one_sound_in_two_channels_is_transcribed_once(recognizer: Recognizer, speech: Floats) -> None:
    twice = np.stack([speech, speech], axis=1)
    found = recognizer.transcribe(twice, sample_rate=SAMPLE_RATE, channels="apart")
    assert found.segments == recognizer.transcribe(speech, sample_rate=SAMPLE_RATE).segments
    assert found.warnings == ("all 2 channels hold the same sound, so it was transcribed once",)


def test_a_silent_channel_is_no_news() -> None:
    recognizer = Recognizer.load()
    said = read_audio(CLIP_FOLDER / "en-1.flac")
    half = np.stack([said, np.zeros_like(said)], axis=1)
    found = recognizer.transcribe(half, sample_rate=SAMPLE_RATE, channels="apart")
    assert found.silence == "" and found.turns == ((1, found.text),)
    quiet = np.zeros((SAMPLE_RATE, 2), np.float32)
    quiet[::2, 1] = 1e-2
    assert recognizer.transcribe(quiet, sample_rate=SAMPLE_RATE, channels="apart").silence.split("; ")[
        :2
    ] == [
        "channel 1: no speech was found (the sound is silent)",
        "channel 2: no speech was found (level -43 dBFS)",
    ]


@pytest.mark.parametrize("beams", [1, 3])
def test_a_text_in_one_language(beams: int) -> None:
    """It holds no letter of another, whatever is said."""
    recognizer = Recognizer.load()
    decoding = replace(recognizer.model.config.decoding, beam_size=beams)
    for clip, said in (("en-1", "en"), ("zh-1", "zh")):
        path = CLIP_FOLDER / f"{clip}.flac"
        for language in LANGUAGES:
            config = RecognitionConfig(decoding=replace(decoding, language=language))
            found = Recognizer(recognizer.model, config).transcribe(path)
            assert found.text and not foreign_to(language, found.text)
            if said == language:
                free = Recognizer(recognizer.model, RecognitionConfig(decoding=decoding)).transcribe(path)
                assert free.text == found.text and free.language == said


def test_threads_may_share_a_recognizer() -> None:
    """From its first use on: nothing of the model has been made ready before."""
    clips = sorted(CLIP_FOLDER.glob("*.flac"))
    alone = [Recognizer.load(threads=1).transcribe(clip).segments for clip in clips]
    shared = Recognizer.load(threads=1)
    begin = threading.Barrier(4)

    def work(clip: Path) -> list[tuple[Segment, ...]]:
        begin.wait(60)
        return [shared.transcribe(one).segments for one in (clip, *clips)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, clips))
    assert found == [[own, *alone] for own in alone]


def test_alternatives_begin_with_the_text_and_fall_in_score() -> None:
    nano = Recognizer.load()
    several = Recognizer(nano.model, RecognitionConfig(nbest=5))
    for clip in sorted(CLIP_FOLDER.glob("*.flac")):
        (plain,), (told,) = nano.transcribe(clip).segments, several.transcribe(clip).segments
        # The text is what it is without them.
        assert replace(told, alternatives=()) == plain and plain.alternatives == ()
        first, *others = told.alternatives
        assert (first.text, first.confidence) == (told.text, told.confidence)
        assert len(others) >= 2 and all(0 < one.confidence <= 1 for one in others)
        assert all(before.score >= after.score for before, after in pairwise(told.alternatives))
        assert len({one.text for one in told.alternatives}) == len(told.alternatives)
    (hinted,) = several.transcribe(clip, hints=["我不知道"]).segments
    assert hinted.alternatives[0].text == hinted.text
    # Greedy search has one text, and live finals have them too.
    greedy = RecognitionConfig(nbest=1, decoding=DecodingConfig())
    (segment,) = Recognizer(nano.model, greedy).transcribe(clip).segments
    assert [one.text for one in segment.alternatives] == [segment.text]
    stream = nano.stream(StreamingConfig(nbest=3))
    events = [*stream.feed(read_audio(clip)), *stream.finish()]
    (final,) = (event.segment for event in events if isinstance(event, Final))
    assert 2 <= len(final.alternatives) <= 3 and final.alternatives[0].text == final.text


def test_more_alternatives_than_beams_are_refused(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match=r"5 beams are needed, and there is 1: --beams 5"):
        Recognizer(recognizer.model, RecognitionConfig(nbest=5))
    with pytest.raises(InputError, match="3 beams"):
        recognizer.stream(StreamingConfig(nbest=3))
    with pytest.raises(InputError, match="there are 4"):
        Recognizer(recognizer.model, RecognitionConfig(nbest=5, decoding=DecodingConfig(beam_size=4)))
    for wrong in (-1, 101):
        with pytest.raises(ValueError, match="nbest must be from 0 to 100"):
            RecognitionConfig(nbest=wrong)
