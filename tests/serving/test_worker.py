"""The engine's thread: streams and recordings side by side, given up, failing alone."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError, OverloadedError
from nim4asr.recognition.events import Event, Final, Marked
from nim4asr.runtime.network import Model
from nim4asr.serving.worker import EngineWorker, RecordingOptions

CLIP = (CLIP_FOLDER / "zh-1.flac").read_bytes()
PLAIN = RecordingOptions()


@pytest.fixture
def worker(model: Model) -> Iterator[EngineWorker]:
    worker = EngineWorker(model, max_recordings=2, max_waiting=1)
    yield worker
    worker.close()


def long_sound() -> Floats:
    clips = [read_audio(CLIP_FOLDER / f"{name}.flac") for name in ("zh-1", "en-1")]
    return np.concatenate([part for clip in clips * 8 for part in (clip, np.zeros(12_000, np.float32))])


def wav(samples: Floats) -> bytes:
    import io

    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def test_recordings_are_what_the_recognizer_makes_of_them(model: Model, worker: EngineWorker) -> None:
    from nim4asr.recognition.offline import Recognizer

    sound = wav(long_sound())
    seen: list[str] = []
    future = worker.transcribe(sound, PLAIN, on_segment=lambda segment: seen.append(segment.text))
    transcript = future.result(60)
    assert transcript.segments == Recognizer(model).transcribe(sound).segments
    assert seen == [segment.text for segment in transcript.segments] and len(seen) == 16


def test_a_live_stream_beside_recordings(worker: EngineWorker) -> None:
    recordings = [worker.transcribe(wav(long_sound()), PLAIN) for _ in range(2)]
    events: list[Event] = []
    done = threading.Event()
    stream = worker.open(events.extend).result(10)
    stream.feed(read_audio(CLIP_FOLDER / "en-1.flac")).result(10)
    stream.commit("token").result(10)
    stream.finish(done.set).result(10)
    assert done.wait(30)
    assert [event.segment.text for event in events if isinstance(event, Final)] == ["what do you want"]
    assert events[-1] == Marked("token")
    assert all(recording.result(60).text for recording in recordings)
    assert worker.live_streams == 0 and worker.engine.slots_in_use == 0


def test_too_many_recordings(worker: EngineWorker) -> None:
    recordings = [worker.transcribe(wav(long_sound()), PLAIN) for _ in range(3)]
    with pytest.raises(OverloadedError, match="try again later"):
        worker.transcribe(CLIP, PLAIN)
    for recording in recordings:
        recording.result(60)
    end = time.monotonic() + 10
    while worker.under_way and time.monotonic() < end:
        time.sleep(0.01)
    assert worker.transcribe(CLIP, PLAIN).result(30).text == "他是中国人"


def test_a_recording_given_up_leaves_nothing(worker: EngineWorker) -> None:
    recording = worker.transcribe(wav(long_sound()), PLAIN)
    time.sleep(0.1)
    assert recording.cancel()
    end = time.monotonic() + 20
    while worker.under_way or worker.submit(lambda: worker.engine.slots_in_use).result(10):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_listener_that_fails_takes_its_stream_alone(worker: EngineWorker) -> None:
    def broken(events: list[Event]) -> None:
        raise RuntimeError("the loop is closed")

    stream = worker.open(broken).result(10)
    stream.feed(read_audio(CLIP_FOLDER / "en-1.flac"))
    stream.finish()
    assert worker.transcribe(CLIP, PLAIN).result(30).text == "他是中国人"
    end = time.monotonic() + 10
    while worker.live_streams:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_bad_input_is_the_caller_s(worker: EngineWorker) -> None:
    with pytest.raises(InputError, match="not audio"):
        worker.transcribe(b"no sound", PLAIN).result(30)
    stream = worker.open(lambda events: None).result(10)
    with pytest.raises(InputError, match="NaN"):
        stream.feed(np.array([np.nan], np.float32)).result(10)
    with pytest.raises(InputError, match="rate"):
        worker.open(lambda events: None, sample_rate=1).result(10)


def test_closing_ends_what_is_under_way(model: Model) -> None:
    worker = EngineWorker(model)
    recording = worker.transcribe(wav(long_sound()), PLAIN)
    time.sleep(0.1)
    worker.close()
    with pytest.raises(OverloadedError, match="shutting down"):
        recording.result(20)
    with pytest.raises(OverloadedError, match="shutting down"):
        worker.submit(lambda: None).result(1)
