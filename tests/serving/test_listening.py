"""The front end of all live sound: in rounds, beside the engine, an error of one stream its own."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.recognition.events import Failed, Final
from nim4asr.recognition.frontend import FeatureChunk, Mark, SpeechEnd, SpeechStart
from nim4asr.runtime.network import Model
from nim4asr.serving import listening
from nim4asr.serving.listening import LiveStream, listen
from nim4asr.serving.worker import EngineWorker
from serving.conftest import PATIENCE_S, Log, wait_for
from serving.test_worker import CLIP, PLAIN, Events, Stuck, feed


@pytest.fixture
def worker(model: Model) -> Iterator[EngineWorker]:
    worker = EngineWorker(model)
    yield worker
    worker.close()


@pytest.fixture
def clip() -> Floats:
    return read_audio(CLIP_FOLDER / "en-1.flac")


class Asleep:
    """A listener that does nothing: its rounds are the test's."""

    def wake(self, stream: LiveStream) -> None:
        pass


def stream_of(worker: EngineWorker, monkeypatch: pytest.MonkeyPatch) -> LiveStream:
    stream = worker.open(lambda events: None).result(PATIENCE_S)
    monkeypatch.setattr(stream, "_worker", type("", (), {"listener": Asleep()})())
    return stream


def test_a_round_takes_a_bounded_part_of_every_stream(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats
) -> None:
    flood, stream = stream_of(worker, monkeypatch), stream_of(worker, monkeypatch)
    for _ in range(100):
        flood.feed(clip[:1600], 0.1)
    stream.feed(clip[:1600], 0.1)
    first, second = listen([flood, stream])
    assert first.seconds == pytest.approx(0.5) and len(flood.work) == 95
    assert second.seconds == 0.1 and not stream.work
    # One piece at least, however long.
    stream.feed(clip, 1.0)
    assert listen([stream])[0].seconds == 1.0


def test_what_is_asked_for_comes_after_the_sound_before_it(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats
) -> None:
    stream = stream_of(worker, monkeypatch)
    feed(stream, clip)
    stream.commit("token")
    stream.hint(["name"], None)
    stream.feed(clip[:800], 0.05)
    stream.finish()
    rounds = []
    while stream.work:
        rounds += listen([stream])
    tasks = [task for heard in rounds for task in heard.tasks]
    kinds = [type(task) for task in tasks if not isinstance(task, FeatureChunk)]
    assert kinds == [SpeechStart, SpeechEnd, Mark]
    assert [heard.hint for heard in rounds if heard.hint] == [(("name",), None)]
    assert [heard.last for heard in rounds] == [False] * (len(rounds) - 1) + [True]
    # Nothing is done any more for one that is over.
    stream.feed(np.full(80, np.nan, np.float32), 0.01)
    stream.commit()
    (heard,) = listen([stream])
    assert not heard.tasks and heard.error is None and not stream.work


def test_an_error_is_one_stream_s_own(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats
) -> None:
    wrong, right = stream_of(worker, monkeypatch), stream_of(worker, monkeypatch)
    for stream in (wrong, right):
        feed(stream, clip[: SAMPLE_RATE // 2])
    wrong.feed(np.full(80, np.nan, np.float32), 0.01)
    first, second = listen([wrong, right])
    third, _ = listen([wrong, right])
    assert first.error is None and isinstance(third.error, InputError)
    assert second.error is None and second.seconds == pytest.approx(0.5)


def test_where_all_cannot_be_heard_together_each_is_alone(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats
) -> None:
    streams = [stream_of(worker, monkeypatch) for _ in range(3)]
    genuine = listening.heard_together

    def failing(frontends: Any) -> Any:
        if len(frontends) > 1 or frontends[0] is streams[1].frontend:
            raise RuntimeError("no memory")
        return genuine(frontends)

    monkeypatch.setattr(listening, "heard_together", failing)
    errors: list[Exception | None] = [None] * 3
    for stream in streams:
        feed(stream, clip)
    while any(stream.work for stream in streams):
        for number, heard in enumerate(listen(streams)):
            errors[number] = errors[number] or heard.error
    assert [type(error) for error in errors] == [type(None), RuntimeError, type(None)]


def test_sound_that_one_cannot_judge_is_lost_to_nobody_else(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats
) -> None:
    streams = [stream_of(worker, monkeypatch) for _ in range(3)]
    monkeypatch.setattr(streams[1].frontend, "judge", lambda probabilities: 1 / 0)
    tasks: list[list[Any]] = [[] for _ in streams]
    for stream in streams:
        feed(stream, clip)
        stream.commit()
    while any(stream.work for stream in streams):
        for number, heard in enumerate(listen(streams)):
            tasks[number] += [type(task) for task in heard.tasks]
    assert tasks[0] == tasks[2] and SpeechEnd in tasks[0] and tasks[1] == []


def test_neither_thread_waits_for_the_other(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats
) -> None:
    events, done = Events(), threading.Event()
    stream = worker.open(events).result(PATIENCE_S)
    # The engine stands still: all of the sound is listened to meanwhile.
    held = Stuck(worker, monkeypatch)
    feed(stream, np.concatenate([clip, np.zeros(SAMPLE_RATE, np.float32)] * 3))
    wait_for(lambda: not stream.work)
    held.go()
    # The listener stands still: the engine works meanwhile.
    wait_for(lambda: len(events.texts) == 3)
    go, entered = threading.Event(), threading.Event()
    genuine = listening.heard_together

    def slow(frontends: Any) -> Any:
        entered.set()
        assert go.wait(PATIENCE_S)
        return genuine(frontends)

    monkeypatch.setattr(listening, "heard_together", slow)
    feed(stream, clip)
    assert entered.wait(PATIENCE_S)
    assert worker.transcribe(CLIP, PLAIN).result(PATIENCE_S).text == "他是中国人"
    assert stream.waiting_s > 0
    go.set()
    stream.finish(done.set)
    assert done.wait(PATIENCE_S) and events.texts == ["what do you want"] * 4
    assert worker.wait_idle(PATIENCE_S)


def test_a_round_that_fails_ends_its_streams_and_not_the_listener(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch, clip: Floats, log: Log
) -> None:
    events, done = Events(), threading.Event()
    stream = worker.open(events).result(PATIENCE_S)
    with monkeypatch.context() as patch:
        patch.setattr(listening, "listen", lambda streams: 1 / 0)
        feed(stream, clip)
        assert isinstance(events.wait(lambda event: isinstance(event, Failed)), Failed)
    assert log.wait(lambda record: "listener" in record.getMessage()).exc_info
    stream.finish(done.set)
    assert done.wait(PATIENCE_S)
    other = Events()
    again = worker.open(other).result(PATIENCE_S)
    feed(again, clip)
    again.finish()
    other.wait(lambda event: isinstance(event, Final))
    assert worker.wait_idle(PATIENCE_S)


def test_nothing_waits_of_a_stream_that_was_fed_nothing(
    worker: EngineWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_of(worker, monkeypatch)
    assert stream.waiting_s == 0.0
    # What is heard of the end of a recording, silence included, may be more than was fed.
    monkeypatch.setattr(stream, "heard_s", 1.0)
    assert stream.waiting_s == 0.0
