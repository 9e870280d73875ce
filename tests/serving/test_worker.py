"""The engine's thread: streams and recordings side by side, given up, failing alone, late and caught up."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError, OverloadedError
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.events import Event, Failed, Final, Marked
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.result import Segment
from nim4asr.runtime.network import Model
from nim4asr.serving.listening import LiveStream
from nim4asr.serving.reading import RecordingLimits, RecordingOptions
from nim4asr.serving.worker import EngineWorker
from serving.conftest import PATIENCE_S, Log, wait_for

CLIP = (CLIP_FOLDER / "zh-1.flac").read_bytes()
PLAIN = RecordingOptions()


@pytest.fixture
def worker(model: Model) -> Iterator[EngineWorker]:
    worker = EngineWorker(model, max_recordings=2)
    yield worker
    worker.close()


def long_sound() -> Floats:
    clips = [read_audio(CLIP_FOLDER / f"{name}.flac") for name in ("zh-1", "en-1")]
    return np.concatenate([part for clip in clips * 8 for part in (clip, np.zeros(12_000, np.float32))])


def wav(samples: Floats) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV")
    return buffer.getvalue()


def feed(stream: LiveStream, samples: Floats) -> None:
    for start in range(0, len(samples), SAMPLE_RATE // 2):
        piece = samples[start : start + SAMPLE_RATE // 2]
        stream.feed(piece, len(piece) / SAMPLE_RATE)


class Events:
    """The events of a stream; ``wait`` waits for one."""

    def __init__(self) -> None:
        self.list: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, events: list[Event]) -> None:
        with self._changed:
            self.list += events
            self._changed.notify_all()

    def wait(self, predicate: Callable[[Event], bool]) -> Event:
        def found() -> Event | None:
            return next(filter(predicate, self.list), None)

        with self._changed:
            event = self._changed.wait_for(found, PATIENCE_S)
        assert event is not None, self.list
        return event

    @property
    def texts(self) -> list[str]:
        return [event.segment.text for event in self.list if isinstance(event, Final)]


class Stuck:
    """The engine's step, held up until it is let go."""

    def __init__(self, worker: EngineWorker, monkeypatch: pytest.MonkeyPatch) -> None:
        self._go, self._entered = threading.Event(), threading.Event()
        genuine = worker.engine.step

        def step() -> Any:
            self._entered.set()
            assert self._go.wait(PATIENCE_S)
            return genuine()

        monkeypatch.setattr(worker.engine, "step", step)
        worker.poke()
        assert self._entered.wait(PATIENCE_S)

    def go(self) -> None:
        self._go.set()


def rounded(segment: Segment) -> Segment:
    """``segment`` without the language model's probabilities."""
    tokens = tuple(replace(token, log_prob=0.0) for token in segment.tokens)
    return replace(segment, confidence=0.0, tokens=tokens)


def test_recordings_are_what_the_recognizer_makes_of_them(model: Model) -> None:
    """Several at once, beside a live stream, with batches that do not hold a whole recording: all of it, but
    for the last digits of probabilities, for texts share calls with those of others.
    """
    config = RecognitionConfig(batch_seconds=6.0)
    worker = EngineWorker(model, config, max_recordings=3)
    parts = [read_audio(CLIP_FOLDER / f"{name}.flac") for name in ("zh-1", "en-1", "zh-2", "en-2")]
    pause = np.zeros(12_000, np.float32)
    sounds = [
        wav(np.concatenate([part for one in (parts * 2)[n : n + 5] for part in (one, pause)]))
        for n in range(3)
    ]
    seen: list[str] = []
    try:
        live = worker.open(lambda events: None).result(PATIENCE_S)
        feed(live, np.concatenate([parts[0], pause] * 4))
        futures = [worker.transcribe(sound, PLAIN) for sound in sounds[1:]]
        futures.insert(0, worker.transcribe(sounds[0], PLAIN, on_segment=lambda one: seen.append(one.text)))
        transcripts = [future.result(PATIENCE_S) for future in futures]
        live.drop()
    finally:
        worker.close()
    for sound, transcript in zip(sounds, transcripts, strict=True):
        expected = Recognizer(model, config).transcribe(sound).segments
        assert [rounded(one) for one in transcript.segments] == [rounded(one) for one in expected]
        for one, other in zip(transcript.segments, expected, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
            log_probs = [token.log_prob for token in other.tokens]
            assert [token.log_prob for token in one.tokens] == pytest.approx(log_probs, abs=1e-5)
    assert seen == [segment.text for segment in transcripts[0].segments] and len(seen) == 5


def test_a_live_stream_beside_recordings(worker: EngineWorker) -> None:
    recordings = [worker.transcribe(wav(long_sound()), PLAIN) for _ in range(2)]
    events, done = Events(), threading.Event()
    stream = worker.open(events).result(PATIENCE_S)
    feed(stream, read_audio(CLIP_FOLDER / "en-1.flac"))
    stream.commit("token")
    stream.finish(done.set)
    assert done.wait(PATIENCE_S)
    assert events.texts == ["what do you want"] and events.list[-1] == Marked("token")
    assert all(recording.result(PATIENCE_S).text for recording in recordings)
    assert worker.wait_idle(PATIENCE_S) and worker.engine.slots_in_use == 0


@pytest.mark.parametrize("stuck", [False, True])
def test_a_recording_given_up_leaves_nothing(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, stuck: bool
) -> None:
    """While its segments come, and while it waits for one that does not come."""
    ended, begun, cancelled = (threading.Event() for _ in range(3))
    held = Stuck(worker, monkeypatch) if stuck else None
    if stuck:
        genuine = worker.engine.open_batch
        monkeypatch.setattr(worker.engine, "open_batch", lambda *a: (begun.set(), genuine(*a))[1])
        assert held is not None
        held.go()
        held = Stuck(worker, monkeypatch)

    def on_segment(segment: Segment) -> None:
        begun.set()
        assert cancelled.wait(PATIENCE_S)

    recording = worker.transcribe(wav(long_sound()), PLAIN, on_segment=on_segment, on_end=ended.set)
    if not stuck:
        assert begun.wait(PATIENCE_S)
    assert recording.cancel()
    cancelled.set()
    if held is not None:
        held.go()
    assert ended.wait(PATIENCE_S) and worker.wait_idle(PATIENCE_S)
    with pytest.raises(CancelledError):
        recording.result()


class _Endless:
    """Blocks of silence that count themselves."""

    def __init__(self) -> None:
        self.given, self.some = 0, threading.Event()

    def __call__(self, source: bytes, warn: Any, channel: int | None) -> Iterator[Floats]:
        while True:
            self.given += 1
            if self.given == 3:
                self.some.set()
            yield np.zeros(SAMPLE_RATE, np.float32)


def test_a_recording_of_silence_is_given_up_within_a_block(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, ended = _Endless(), threading.Event()
    monkeypatch.setattr("nim4asr.serving.reading.stream_audio", blocks)
    recording = worker.transcribe(bytes(10**9 // 1000), PLAIN, on_end=ended.set)
    assert blocks.some.wait(PATIENCE_S)
    recording.cancel()
    assert ended.wait(PATIENCE_S)
    after = blocks.given
    assert worker.wait_idle(PATIENCE_S) and blocks.given == after


def flac(seconds: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(round(seconds * 8000), np.int16), 8000, format="FLAC")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "limits", "sentence"),
    [
        (flac(7200), RecordingLimits(), "are no speech"),
        (flac(10), RecordingLimits(max_duration_s=5), "longer than the 5 s"),
        (wav(long_sound()), RecordingLimits(max_duration_s=5), "longer than the 5 s"),
    ],
)
def test_what_is_too_long_is_refused_before_any_work(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, data: bytes, limits: Any, sentence: str
) -> None:
    def untouched(*_: object) -> Any:
        raise AssertionError("something was decoded")

    monkeypatch.setattr("nim4asr.serving.reading.cut_speech", untouched)
    with pytest.raises(InputError, match=sentence):
        worker.transcribe(data, PLAIN, limits).result(PATIENCE_S)


def test_silence_has_an_end(worker: EngineWorker) -> None:
    speech, silence = read_audio(CLIP_FOLDER / "en-1.flac"), np.zeros(40 * SAMPLE_RATE, np.float32)
    limits = RecordingLimits(max_silence_s=50)
    # Twice forty seconds with speech between them are less than fifty at a time.
    spoken = wav(np.concatenate([silence, speech, silence]))
    assert worker.transcribe(spoken, PLAIN, limits).result(PATIENCE_S).text == "what do you want"
    with pytest.raises(InputError, match="nobody speaks for over 50 s"):
        worker.transcribe(wav(np.concatenate([silence, silence])), PLAIN, limits).result(PATIENCE_S)


def test_a_listener_that_fails_takes_its_stream_alone(worker: EngineWorker, log: Log) -> None:
    def broken(events: list[Event]) -> None:
        raise RuntimeError("the loop is closed")

    stream = worker.open(broken).result(PATIENCE_S)
    feed(stream, read_audio(CLIP_FOLDER / "en-1.flac"))
    stream.finish()
    assert worker.transcribe(CLIP, PLAIN).result(PATIENCE_S).text == "他是中国人"
    assert worker.wait_idle(PATIENCE_S)
    record = log.wait(lambda record: "listener" in record.getMessage())
    assert record.exc_info and "the loop is closed" in str(record.exc_info[1])


def test_an_engine_that_fails_is_replaced(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    genuine = worker.engine.step

    def broken() -> Any:
        if worker._segments:
            raise RuntimeError("out of memory")
        return genuine()

    events, done = Events(), threading.Event()
    stream = worker.open(events).result(PATIENCE_S)
    monkeypatch.setattr(worker.engine, "step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        worker.transcribe(CLIP, PLAIN).result(PATIENCE_S)
    events.wait(lambda event: isinstance(event, Failed))
    stream.finish(done.set)
    assert done.wait(PATIENCE_S)
    log.wait(lambda record: "the engine failed" in record.getMessage() and record.exc_info is not None)
    assert worker.transcribe(CLIP, PLAIN).result(PATIENCE_S).text == "他是中国人"
    assert worker.wait_idle(PATIENCE_S)


def test_bad_input_is_the_caller_s(worker: EngineWorker) -> None:
    with pytest.raises(InputError, match="not audio"):
        worker.transcribe(b"no sound", PLAIN).result(PATIENCE_S)
    events = Events()
    stream = worker.open(events).result(PATIENCE_S)
    stream.feed(np.array([np.nan], np.float32), 0.1)
    failed = events.wait(lambda event: isinstance(event, Failed))
    assert isinstance(failed, Failed) and isinstance(failed.error, InputError) and "NaN" in str(failed.error)
    # The stream is over: nothing more is said of it, and whoever waits for its end has it.
    done = threading.Event()
    feed(stream, read_audio(CLIP_FOLDER / "en-1.flac"))
    stream.finish(done.set)
    assert done.wait(PATIENCE_S) and events.list == [failed]
    assert worker.wait_idle(PATIENCE_S)
    with pytest.raises(InputError, match="rate"):
        worker.open(lambda events: None, sample_rate=1).result(PATIENCE_S)


def test_closing_ends_what_is_under_way(model: Model) -> None:
    worker = EngineWorker(model, RecognitionConfig(batch_seconds=4.0))
    begun, ended, done = threading.Event(), threading.Event(), threading.Event()

    def on_segment(segment: Segment) -> None:
        begun.set()
        wait_for(lambda: worker._closed)

    recording = worker.transcribe(wav(long_sound()), PLAIN, None, on_segment, ended.set)
    waiting = [worker.transcribe(CLIP, PLAIN) for _ in range(4)]
    events = Events()
    stream = worker.open(events).result(PATIENCE_S)
    assert begun.wait(PATIENCE_S)
    worker.close()
    assert ended.is_set()
    for future in (recording, waiting[-1]):
        with pytest.raises(OverloadedError, match="shutting down"):
            future.result(PATIENCE_S)
    stream.finish(done.set)
    assert done.wait(PATIENCE_S) and isinstance(events.list[-1], Failed)
    with pytest.raises(OverloadedError, match="shutting down"):
        worker.submit(lambda: None).result(PATIENCE_S)
    with pytest.raises(OverloadedError, match="shutting down"):
        worker.transcribe(CLIP, PLAIN)
    worker.close()


def test_closing_waits_for_no_reader_that_has_just_passed_the_check(model: Model) -> None:
    """One lock over the check and the queue: a command is either worked off or refused, never left."""
    worker = EngineWorker(model)
    inside, checked = threading.Event(), threading.Event()

    class Slow:
        """A queue whose ``put`` is slow enough for the worker to be closed meanwhile, if it could be."""

        def __init__(self, queue: Any) -> None:
            self._queue = queue

        def __getattr__(self, name: str) -> Any:
            return getattr(self._queue, name)

        def put(self, command: Any) -> None:
            if command is not None:
                inside.set()
                checked.wait(0.5)
            self._queue.put(command)

    worker._commands = Slow(worker._commands)  # type: ignore[assignment]
    results: list[Any] = []
    reader = threading.Thread(target=lambda: results.append(worker.submit(lambda: 1).result(PATIENCE_S)))
    reader.start()
    assert inside.wait(PATIENCE_S)
    closing = threading.Thread(target=worker.close)
    closing.start()
    closing.join(PATIENCE_S)
    reader.join(PATIENCE_S)
    assert not closing.is_alive() and results == [1]


def test_no_stream_keeps_the_others_from_their_steps(worker: EngineWorker) -> None:
    """A minute of one stream waits in the queue: the other's words come out before all of it is heard."""
    clip = read_audio(CLIP_FOLDER / "en-1.flac")
    busy, events = Events(), Events()
    flood = worker.open(busy).result(PATIENCE_S)
    stream = worker.open(events).result(PATIENCE_S)
    left: list[float] = []
    genuine = stream.on_events

    def on_events(found: list[Event]) -> None:
        left.append(flood.waiting_s)
        genuine(found)

    stream.on_events = on_events
    feed(flood, np.concatenate([clip, np.zeros(SAMPLE_RATE, np.float32)] * 60))
    feed(stream, clip)
    stream.commit()
    events.wait(lambda event: isinstance(event, Final))
    assert events.texts == ["what do you want"] and left[-1] > 0
    flood.drop()
    stream.drop()
    assert worker.wait_idle(PATIENCE_S)


def test_what_cannot_be_kept_up_with_is_late_and_in_order(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight streams say all they have to say while the engine stands still; nothing of it is lost."""
    clips = [read_audio(CLIP_FOLDER / f"{name}.flac") for name in ("zh-1", "en-1", "zh-2")]
    pause, done = np.zeros(SAMPLE_RATE, np.float32), [threading.Event() for _ in range(8)]
    found = [Events() for _ in done]
    streams = [worker.open(events).result(PATIENCE_S) for events in found]
    held = Stuck(worker, monkeypatch)
    for stream, end in zip(streams, done, strict=True):
        feed(stream, np.concatenate([part for clip in clips for part in (clip, pause)]))
        stream.finish(end.set)
    assert worker.backlog_s > 8 * 6
    held.go()
    for events, end in zip(found, done, strict=True):
        assert end.wait(PATIENCE_S)
        assert events.texts == ["他是中国人", "what do you want", "我不知道"]


def test_late_is_what_is_behind_its_own_pace(worker: EngineWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic() + 1000]
    stream = worker.open(lambda events: None).result(PATIENCE_S)
    assert worker.wait_idle(0) is False
    held = Stuck(worker, monkeypatch)
    monkeypatch.setattr("nim4asr.serving.listening.time.monotonic", lambda: now[0])
    piece = np.zeros(SAMPLE_RATE // 2, np.float32)
    # A file, at once: it is ahead of its own pace until its time is over.
    for _ in range(20):
        stream.feed(piece, 0.5)
    assert worker.late_s == 0.0 and worker.backlog_s == 10.0
    now[0] += 4.0
    assert worker.late_s == pytest.approx(4.0)
    monkeypatch.undo()
    held.go()
    stream.drop()
    assert worker.wait_idle(PATIENCE_S) and worker.late_s == 0.0


def test_room_is_told_of_once(worker: EngineWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = worker.open(lambda events: None).result(PATIENCE_S)
    held = Stuck(worker, monkeypatch)
    room, calls = threading.Event(), list[int]()
    for _ in range(10):
        stream.feed(np.zeros(SAMPLE_RATE // 2, np.float32), 0.5)
    stream.call_below(2.0, lambda: (calls.append(1), room.set())[1])
    assert stream.waiting_s == 5.0 and not room.is_set()
    held.go()
    assert room.wait(PATIENCE_S)
    stream.drop()
    assert worker.wait_idle(PATIENCE_S) and calls == [1]


def test_a_file_is_no_longer_needed_when_it_was_read(worker: EngineWorker, tmp_path: Path) -> None:
    path, ended = tmp_path / "a.flac", threading.Event()
    path.write_bytes(CLIP)
    recording = worker.transcribe(path, PLAIN, on_end=lambda: (path.unlink(), ended.set())[1])
    assert recording.result(PATIENCE_S).text == "他是中国人"
    assert ended.wait(PATIENCE_S) and not path.exists()


def test_work_that_fails_in_the_engine_s_thread_does_not_end_it(worker: EngineWorker, log: Log) -> None:
    """What was open is given up, and the next is served."""
    fault = RuntimeError("injected")

    def broken() -> None:
        raise fault

    events = Events()
    worker.open(events).result(PATIENCE_S)
    worker.post(broken)
    events.wait(lambda event: isinstance(event, Failed))
    assert worker.transcribe(CLIP, PLAIN).result(PATIENCE_S).text == "他是中国人"
    assert worker.wait_idle(PATIENCE_S)
    assert fault in [record.exc_info[1] for record in log.records if record.exc_info]


def test_a_reader_that_cannot_be_started_leaves_nothing(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(worker._readers, "submit", full)
    with pytest.raises(RuntimeError, match="new thread"):
        worker.transcribe(CLIP, PLAIN)
    assert worker.under_way == 0 and worker.wait_idle(PATIENCE_S)
