from typing import Any

import numpy as np
import pytest

from nim4asr.audio.features import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.recognition.events import Event, Failed, Final
from nim4asr.recognition.offline import Recogniser
from nim4asr.recognition.pool import StreamPool
from nim4asr.recognition.streaming import Stream

QUIET = np.zeros(SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def recogniser(toy_checkpoint: Checkpoint) -> Recogniser:
    return Recogniser(toy_checkpoint)


@pytest.fixture(scope="module")
def talks(speech: Floats) -> list[Floats]:
    return [
        np.concatenate([speech, QUIET, speech]),
        np.concatenate([QUIET[:3000], speech, speech, speech, QUIET]),
        np.concatenate([speech[2000:], QUIET, QUIET, speech]),
    ]


def alone(recogniser: Recogniser, talk: Floats) -> list[Event]:
    stream = Stream(recogniser)
    return [*stream.feed(talk), *stream.finish()]


def rounded(events: list[Event]) -> list[object]:
    """Events without the last digits of confidences, which a batch may change."""
    return [
        (e.time, e.segment.text, e.segment.phonemes, [(w.text, w.start, w.end) for w in e.segment.words])
        if isinstance(e, Final)
        else e
        for e in events
    ]


@pytest.mark.parametrize("place", ["_conclude", "_advance", "_hear", "_accept"])
def test_an_error_of_one_stream_ends_that_stream_alone(
    recogniser: Recogniser, talks: list[Floats], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    pool = StreamPool(recogniser)
    names = [pool.open() for _ in range(8)]
    for name in names:
        pool.feed(name, talks[0])
        pool.finish(name)
    broken = names[3]
    genuine, calls = getattr(pool, place), 0

    def failing(what: Any, *rest: Any, **named: Any) -> None:
        nonlocal calls
        live = pool._streams.get(broken)
        own = live is not None and live.utterance is not None
        if own and (what is live or what is live.utterance.text):
            calls += 1
            if calls == 4:
                raise ZeroDivisionError("injected")
        genuine(what, *rest, **named)

    monkeypatch.setattr(pool, place, failing)
    said: dict[int, list[Event]] = {name: [] for name in names}
    while any(pool.busy(name) for name in names):
        for name, events in pool.step().items():
            said[name] += events
    failed = said.pop(broken)[-1]
    assert isinstance(failed, Failed) and isinstance(failed.error, ZeroDivisionError)
    unharmed = rounded(alone(recogniser, talks[0]))
    assert all(rounded(events) == unharmed for events in said.values())
    with pytest.raises(InputError, match="finished"):
        pool.feed(broken, talks[0])


def test_a_stream_alone_raises_its_error_after_what_it_knew(
    recogniser: Recogniser, talks: list[Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(recogniser)
    monkeypatch.setattr(stream._pool, "_end_speech", lambda live, end: 1 // 0)
    first = stream.feed(talks[0])
    assert first and not any(isinstance(event, Failed) for event in first)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            stream.feed(talks[0])
    with pytest.raises(ZeroDivisionError):
        stream.finish()


def test_streams_in_a_pool_say_what_each_says_alone(recogniser: Recogniser, talks: list[Floats]) -> None:
    pool = StreamPool(recogniser)
    names = [pool.open() for _ in talks]
    # A fourth stream says a little and then no more, without ever finishing.
    dead = pool.open()
    pool.feed(dead, talks[0][:12000])
    said: dict[int, list[Event]] = {name: [] for name in [*names, dead]}
    steps = 0
    blocks = (1600, 4000, 777)
    for turn in range(2 + max(len(talk) for talk in talks) // 777):
        for name, talk, block in zip(names, talks, blocks, strict=True):
            start = turn * block
            if start < len(talk):
                pool.feed(name, talk[start : start + block])
            elif start - block < len(talk):
                pool.finish(name)
        for name, events in pool.step().items():
            said[name] += events
            steps += 1
    while any(pool.busy(name) for name in names):
        for name, events in pool.step().items():
            said[name] += events
    for name, talk in zip(names, talks, strict=True):
        assert rounded(said[name]) == rounded(alone(recogniser, talk))
    assert not [e for e in said[dead] if isinstance(e, Final)]


def test_calls_are_shared(recogniser: Recogniser, talks: list[Floats]) -> None:
    one, many = StreamPool(recogniser), StreamPool(recogniser)
    for pool, copies in ((one, 1), (many, 5)):
        names = [pool.open() for _ in range(copies)]
        for name in names:
            pool.feed(name, talks[1])
            pool.finish(name)
        while any(pool.busy(name) for name in names):
            pool.step()
    assert many.work.encoder_frames == 5 * one.work.encoder_frames
    assert many.work.encoder_calls == one.work.encoder_calls
    assert many.work.language_model_calls == one.work.language_model_calls


def test_a_stream_gives_back_what_it_held(recogniser: Recogniser, talks: list[Floats]) -> None:
    pool = StreamPool(recogniser)
    for _ in range(3):
        name = pool.open()
        pool.feed(name, talks[0][:20000])
        pool.step()
        pool.drop(name)
        assert pool.step() == {}
        with pytest.raises(InputError, match="finished"):
            pool.feed(name, talks[0])
    assert pool._cache.lengths == [0] and len(pool._cache._free) == 1
    pool.drop(99)


def test_a_turn_with_nothing_to_do(recogniser: Recogniser) -> None:
    pool = StreamPool(recogniser)
    name = pool.open()
    assert pool.step() == {} and not pool.busy(name)
    pool.finish(name)
    assert pool.step() == {}
    with pytest.raises(InputError, match="finished"):
        pool.finish(name)
