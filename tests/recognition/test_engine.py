from typing import Any

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import SpeechSegment, VoiceActivityConfig
from nim4asr.errors import InputError, OverloadedError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.engine import Engine, StreamHandle
from nim4asr.recognition.events import Event, Failed, Final, SpeechEnded
from nim4asr.recognition.frontend import FeatureChunk, StreamFrontend
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.recording import as_tasks
from nim4asr.recognition.streaming import Stream
from nim4asr.runtime.network import Model
from nim4asr.runtime.torch_network import torch_model

QUIET = np.zeros(SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def model(toy_checkpoint: Checkpoint) -> Model:
    return torch_model(toy_checkpoint)


@pytest.fixture(scope="module")
def talks(speech: Floats) -> list[Floats]:
    return [
        np.concatenate([speech, QUIET, speech]),
        np.concatenate([QUIET[:3000], speech, speech, speech, QUIET]),
        np.concatenate([speech[2000:], QUIET, QUIET, speech]),
    ]


def alone(model: Model, talk: Floats, config: StreamingConfig | None = None) -> list[Event]:
    stream = Stream(model, config)
    return [*stream.feed(talk), *stream.finish()]


def rounded(events: list[Event]) -> list[object]:
    """Events without the last digits of confidences, which a batch may change."""
    return [
        (e.time, e.segment.text, e.segment.phonemes, [(w.text, w.start, w.end) for w in e.segment.words])
        if isinstance(e, Final)
        else e
        for e in events
    ]


def drained(engine: Engine, handles: list[StreamHandle]) -> dict[StreamHandle, list[Event]]:
    said: dict[StreamHandle, list[Event]] = {handle: [] for handle in handles}
    while any(handle.busy for handle in handles):
        for handle, events in engine.step().items():
            said[handle] += events
    return said


@pytest.mark.parametrize("place", ["_conclude", "_advance", "_hear", "_accept", "_open_search"])
def test_an_error_of_one_stream_ends_that_stream_alone(
    model: Model, talks: list[Floats], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    engine = Engine(model)
    handles = [engine.open() for _ in range(8)]
    for handle in handles:
        handle.feed(talks[0])
        handle.finish()
    broken = handles[3]
    genuine, calls = getattr(engine, place), 0

    def failing(stream: StreamHandle, *rest: Any) -> None:
        nonlocal calls
        if stream is broken and stream.utterance is not None:
            calls += 1
            if calls == 4:
                raise ZeroDivisionError("injected")
        genuine(stream, *rest)

    # ``_accept`` has its own guard, inside which the search fails.
    if place == "_accept":

        def failing(stream: StreamHandle, search: Any, log_probs: Any) -> None:
            nonlocal calls
            calls += stream is broken
            own = (lambda _: 1 // 0) if stream is broken and calls == 4 else search.accept
            engine._alone(stream, lambda _: own(log_probs))

    monkeypatch.setattr(engine, place, failing)
    said = drained(engine, handles)
    failed = said.pop(broken)[-1]
    assert isinstance(failed, Failed) and isinstance(failed.error, ZeroDivisionError)
    unharmed = rounded(alone(model, talks[0]))
    assert all(rounded(events) == unharmed for events in said.values())
    with pytest.raises(InputError, match="finished"):
        broken.feed(talks[0])
    # All slots are free again.
    assert engine.slots_in_use == 0


@pytest.mark.parametrize("call", ["encode_chunks", "append"])
def test_a_call_that_fails_for_one_stream_serves_the_others(
    toy_checkpoint: Checkpoint, talks: list[Floats], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The network refuses everything in which the third stream has a part."""
    model = torch_model(toy_checkpoint)
    engine = Engine(model)
    handles = [engine.open() for _ in range(4)]
    for handle in handles:
        handle.feed(talks[0])
        handle.finish()
    owner = model.network if call == "encode_chunks" else engine._cache
    genuine = getattr(owner, call)

    def failing(rows: Any, *rest: Any) -> Any:
        broken = handles[2].utterance
        if broken is not None:
            mine = [r == broken.slot if call == "append" else r.state is broken.state for r in rows]
            if any(mine):
                raise MemoryError("no room")
        return genuine(rows, *rest)

    monkeypatch.setattr(owner, call, failing)
    said = drained(engine, handles)
    assert [type(event) for event in said.pop(handles[2])] in (
        [Failed],
        [type(alone(model, talks[0])[0]), Failed],
    )
    monkeypatch.undo()
    unharmed = rounded(alone(model, talks[0]))
    assert all(rounded(events) == unharmed for events in said.values())


def test_a_stream_alone_raises_its_error_after_what_it_knew(
    model: Model, talks: list[Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(model)
    genuine = stream._engine._advance

    def failing(handle: StreamHandle) -> None:
        genuine(handle)
        if any(isinstance(event, SpeechEnded) for event in handle.events):
            raise ZeroDivisionError

    monkeypatch.setattr(stream._engine, "_advance", failing)
    first = stream.feed(talks[0])
    assert first and not any(isinstance(event, Failed) for event in first)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            stream.feed(talks[0])
    with pytest.raises(ZeroDivisionError):
        stream.finish()


def test_streams_together_say_what_each_says_alone(model: Model, talks: list[Floats]) -> None:
    engine = Engine(model)
    handles = [engine.open() for _ in talks]
    # A fourth stream says a little and then no more, without ever finishing.
    dead = engine.open()
    dead.feed(talks[0][:12000])
    said: dict[StreamHandle, list[Event]] = {handle: [] for handle in [*handles, dead]}
    blocks = (1600, 4000, 777)
    for turn in range(2 + max(len(talk) for talk in talks) // 777):
        for handle, talk, block in zip(handles, talks, blocks, strict=True):
            start = turn * block
            if start < len(talk):
                handle.feed(talk[start : start + block])
            elif start - block < len(talk):
                handle.finish()
        for handle, events in engine.step().items():
            said[handle] += events
    for handle, events in drained(engine, handles).items():
        said[handle] += events
    for handle, talk in zip(handles, talks, strict=True):
        assert rounded(said[handle]) == rounded(alone(model, talk))
    assert not [e for e in said[dead] if isinstance(e, Final)]


def test_each_stream_has_its_own_chunks_and_voice_activity(model: Model, talks: list[Floats]) -> None:
    configs = [
        StreamingConfig(),
        StreamingConfig(chunk_s=0.16),
        StreamingConfig("final", chunk_s=1.28, voice_activity=VoiceActivityConfig(min_silence_s=2.0)),
    ]
    engine = Engine(model)
    handles = [engine.open(config) for config in configs]
    for handle in handles:
        handle.feed(talks[0])
        handle.finish()
    said = drained(engine, handles)
    for handle, config in zip(handles, configs, strict=True):
        assert rounded(said[handle]) == rounded(alone(model, talks[0], config))
    counts = [len([e for e in said[handle] if isinstance(e, Final)]) for handle in handles]
    assert counts == [2, 2, 1]


def test_who_has_just_spoken_is_heard_again_before_any_recording(
    toy_checkpoint: Checkpoint, speech: Floats, talks: list[Floats]
) -> None:
    model, config = torch_model(toy_checkpoint), StreamingConfig("final", final_context="whole")
    engine = Engine(model)
    batch = [as_tasks(segment, model.frontend) for segment in segments_of(speech, 30)]
    recorded = engine.open_batch(RecognitionConfig(), HintPolicy(), batch)
    handles = [engine.open(config) for _ in range(2)]
    for handle in handles:
        handle.feed(talks[0])
        handle.finish()
    said: dict[StreamHandle, list[Event]] = {handle: [] for handle in handles}
    held_up = 0
    while any(handle.busy for handle in handles):
        waiting = [handle.waiting_s for handle in handles]
        again = any(
            handle.scheme is None and handle.tasks and isinstance(handle.tasks[0], FeatureChunk)
            for handle in handles
        )
        unheard = [stream for stream in engine._streams if stream.recorded and stream.waiting_s]
        events = engine.step()
        if again:
            held_up += len(unheard)
            assert all(stream.waiting_s for stream in unheard)
        for handle, before in zip(handles, waiting, strict=True):
            said[handle] += events.get(handle, [])
            # What is heard again is nothing that waits.
            assert handle.waiting_s <= before
    assert held_up
    for handle in handles:
        assert rounded(said[handle]) == rounded(alone(model, talks[0], config))
        assert len([e for e in said[handle] if isinstance(e, Final)]) == 2
    for one in recorded:
        engine.drop(one)
    engine.step()
    assert engine.slots_in_use == 0


def test_calls_are_shared(model: Model, talks: list[Floats]) -> None:
    one, many = Engine(model), Engine(model)
    for engine, copies in ((one, 1), (many, 5)):
        handles = [engine.open() for _ in range(copies)]
        for handle in handles:
            handle.feed(talks[1])
            handle.finish()
        drained(engine, handles)
    assert many.stats.encoder_frames == 5 * one.stats.encoder_frames
    assert many.stats.encoder_calls == one.stats.encoder_calls
    assert many.stats.language_model_calls == one.stats.language_model_calls


def test_a_front_end_may_run_elsewhere(model: Model, talks: list[Floats]) -> None:
    engine = Engine(model)
    handle, away = engine.open(), engine.open()
    own = StreamFrontend(model.frontend, 16, VoiceActivityConfig())
    handle.feed(talks[0])
    away.add(own.feed(talks[0]))
    handle.finish()
    away.add(own.finish())
    away.finish()
    said = drained(engine, [handle, away])
    assert rounded(said[handle]) == rounded(said[away])


def test_what_waits_is_told_in_seconds(model: Model, speech: Floats) -> None:
    engine = Engine(model)
    handle = engine.open()
    assert handle.waiting_s == 0
    handle.feed(np.concatenate([speech, QUIET]))
    waiting = handle.waiting_s
    assert 0.5 * len(speech) < waiting * SAMPLE_RATE < len(speech) + SAMPLE_RATE
    engine.step()
    assert handle.waiting_s == pytest.approx(waiting - 0.64)
    while handle.busy:
        engine.step()
    assert handle.waiting_s == 0


def test_a_stream_gives_back_what_it_held(model: Model, talks: list[Floats]) -> None:
    engine = Engine(model)
    for _ in range(3):
        handle = engine.open()
        handle.feed(talks[0][:20000])
        engine.step()
        engine.drop(handle)
        assert engine.step() == {} and engine.live_streams == 0
        with pytest.raises(InputError, match="finished"):
            handle.feed(talks[0])
        engine.drop(handle)
    assert engine.slots_in_use == 0


def test_no_more_streams_than_admitted(model: Model, talks: list[Floats]) -> None:
    engine = Engine(model, most_streams=2)
    first, second = engine.open(), engine.open()
    first.feed(talks[0])
    with pytest.raises(OverloadedError, match="all 2 streams are in use"):
        engine.open()
    engine.drop(second)
    third = engine.open()
    first.finish()
    said = drained(engine, [first])
    assert rounded(said[first]) == rounded(alone(model, talks[0]))
    # A finished stream leaves room for another.
    assert engine.live_streams == 1
    engine.open()
    assert third in engine._streams


def test_a_turn_with_nothing_to_do(model: Model) -> None:
    engine = Engine(model)
    handle = engine.open()
    assert engine.step() == {} and not handle.busy
    handle.finish()
    assert engine.step() == {}
    with pytest.raises(InputError, match="finished"):
        handle.finish()


def segments_of(speech: Floats, count: int) -> list[SpeechSegment]:
    return [SpeechSegment(10.0 * number, speech[number * 800 :]) for number in range(count)]


def test_a_recording_holds_a_live_stream_up_for_one_segment_at_a_time(
    toy_checkpoint: Checkpoint, speech: Floats, talks: list[Floats]
) -> None:
    model = torch_model(toy_checkpoint)
    engine = Engine(model)
    batch = [as_tasks(segment, model.frontend) for segment in segments_of(speech, 12)]
    recorded = engine.open_batch(RecognitionConfig(), HintPolicy(), batch)
    handle = engine.open()
    encoded: list[int] = []
    genuine = model.network.encode

    def counting(features: Any, chunks: Any) -> Any:
        encoded.append(len(features))
        return genuine(features, chunks)

    model.network.encode = counting  # type: ignore[method-assign]
    handle.feed(talks[0])
    handle.finish()
    said = drained(engine, [handle, *recorded])
    assert rounded(said[handle]) == rounded(alone(model, talks[0]))
    # While the stream was open, one segment a step; all that are left when it has gone, together.
    assert encoded[:8] == [1] * 8 and sum(encoded) == 12
    alone_found = Recognizer(torch_model(toy_checkpoint)).recognize(segments_of(speech, 12))
    finals = [[event for event in said[one] if isinstance(event, Final)] for one in recorded]
    assert [final.segment.text for (final,) in finals] == [one.text for one in alone_found]


def test_batches_are_not_mixed(toy_checkpoint: Checkpoint, speech: Floats) -> None:
    """What a batch is padded to does not hang on who else is there."""
    model = torch_model(toy_checkpoint)
    engine = Engine(model)
    encoded: list[list[int]] = []
    genuine = model.network.encode

    def counting(features: Any, chunks: Any) -> Any:
        encoded.append([len(one) for one in features])
        return genuine(features, chunks)

    model.network.encode = counting  # type: ignore[method-assign]
    tasks = [as_tasks(segment, model.frontend) for segment in segments_of(speech, 5)]
    for batch in (tasks[:3], tasks[3:]):
        engine.open_batch(RecognitionConfig(), HintPolicy(), batch)
    engine.step()
    assert encoded == [[len(chunk.features) for _, chunk, _ in batch] for batch in (tasks[:3], tasks[3:])]
