import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import EndReason, VoiceActivityConfig
from nim4asr.errors import InputError
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.events import Event, Final, Partial, SpeechEnded, SpeechStarted
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.result import Segment
from nim4asr.recognition.streaming import Stream, transcribe_live
from nim4asr.recognition.utterance import Utterance
from nim4asr.runtime.torch_network import torch_model

QUIET = np.zeros(SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def recognizer(toy_checkpoint: Checkpoint) -> Recognizer:
    return Recognizer(torch_model(toy_checkpoint))


@pytest.fixture(scope="module")
def nano() -> Recognizer:
    """The bundled model, where there must be text to look at."""
    return Recognizer.load()


@pytest.fixture(scope="module")
def talk(speech: Floats) -> Floats:
    """Two utterances of several chunks each."""
    without_pause = np.resize(speech[len(speech) // 4 : 2 * len(speech) // 3], 4 * SAMPLE_RATE)
    return np.concatenate([QUIET, without_pause, QUIET, without_pause[:40_000]])


def listen(stream: Stream, samples: Floats, block: int = 1600) -> list[Event]:
    events = [e for i in range(0, len(samples), block) for e in stream.feed(samples[i : i + block])]
    return events + stream.finish()


def finals(events: list[Event]) -> list[Segment]:
    return [event.segment for event in events if isinstance(event, Final)]


@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_whisper_s_encoder_streams_too(toy_whisper_checkpoint: Checkpoint, talk: Floats, mode: Any) -> None:
    model = torch_model(toy_whisper_checkpoint)
    whole = listen(Stream(model, StreamingConfig(mode)), talk, len(talk))
    assert any(isinstance(e, Partial) for e in whole) == (mode == "refresh") and len(finals(whole)) == 2
    for block in (160, 1601):
        assert listen(Stream(model, StreamingConfig(mode)), talk, block) == whole
    chunks = StreamingConfig().chunks(4, model.frontend.clock.frame_s)
    offline = Recognizer(model, RecognitionConfig(chunks=chunks)).transcribe(talk, sample_rate=SAMPLE_RATE)
    assert [s.phonemes for s in finals(whole)] == [s.phonemes for s in offline.segments]


def test_an_encoder_without_chunks_hears_each_segment_when_it_ends(
    toy_whisper_checkpoint: Checkpoint, talk: Floats
) -> None:
    network = toy_whisper_checkpoint.network
    config, network.config = network.config, replace(network.config, chunks=None)
    try:
        model = torch_model(toy_whisper_checkpoint)
        events = listen(Stream(model), talk)
        assert not any(isinstance(event, Partial) for event in events)
        recorded = Recognizer(model).transcribe(talk, sample_rate=SAMPLE_RATE).segments
        # A recording's segments share a batch, in which sums round otherwise.
        assert [(s.start, s.text, s.phonemes) for s in finals(events)] == [
            (s.start, s.text, s.phonemes) for s in recorded
        ]
        for block in (160, len(talk)):
            assert listen(Stream(model), talk, block) == events
    finally:
        network.config = config


@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_any_cutting_gives_the_same_events(recognizer: Recognizer, talk: Floats, mode: Any) -> None:
    whole = listen(Stream(recognizer.model, StreamingConfig(mode)), talk, len(talk))
    assert any(isinstance(e, Partial) for e in whole) == (mode == "refresh")
    for block in (160, 1601, SAMPLE_RATE):
        assert listen(Stream(recognizer.model, StreamingConfig(mode)), talk, block) == whole


def test_sample_by_sample_too(recognizer: Recognizer, speech: Floats) -> None:
    assert listen(Stream(recognizer.model), speech, 1) == listen(
        Stream(recognizer.model), speech, len(speech)
    )


def test_a_segment_begins_grows_ends_and_is_final(recognizer: Recognizer, talk: Floats) -> None:
    events = listen(Stream(recognizer.model), talk)
    kinds = [type(e) for e in events if not isinstance(e, Partial)]
    assert kinds == [SpeechStarted, SpeechEnded, Final] * 2
    causes = [e.reason for e in events if isinstance(e, SpeechEnded)]
    assert causes == [EndReason.SILENCE, EndReason.END_OF_STREAM]
    times = [event.time for event in events]
    assert times == sorted(times)
    inside = False
    for event in events:
        inside = isinstance(event, SpeechStarted) or (inside and not isinstance(event, SpeechEnded))
        assert inside or not isinstance(event, Partial)


@pytest.mark.parametrize("mode", ["refresh", "final"])
@pytest.mark.parametrize("milliseconds", [160, 320, 640, 1280])
def test_the_final_is_what_the_same_chunks_give_offline(
    nano: Recognizer, talk: Floats, mode: Any, milliseconds: int
) -> None:
    live = StreamingConfig(mode, milliseconds / 1000)
    chunks = live.chunks(4, 0.04)
    assert chunks == ChunkScheme(milliseconds // 40, 64 // (milliseconds // 40))
    offline = Recognizer(nano.model, RecognitionConfig(chunks=chunks))
    expected = offline.transcribe(talk, sample_rate=SAMPLE_RATE).segments
    found = finals(listen(Stream(nano.model, live), talk))
    assert [s.text for s in expected] == [s.text for s in found] and any(s.text for s in found)
    assert [s.phonemes for s in expected] == [s.phonemes for s in found]
    for one, other in zip(found, expected, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end))
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)
        assert [(w.text, w.start, w.end) for w in one.words] == [
            (w.text, w.start, w.end) for w in other.words
        ]


@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_a_final_of_whole_segments_is_a_recordings(nano: Recognizer, talk: Floats, mode: Any) -> None:
    live = StreamingConfig(mode, final_context="whole", decoding=DecodingConfig(beam_size=2))
    offline = Recognizer(nano.model, RecognitionConfig(decoding=live.decoding))
    index = HotwordIndex()
    index.add([Name("今天"), Name("北京大学"), Name("天气")])
    for hotwords in (None, index):
        expected = offline.transcribe(talk, sample_rate=SAMPLE_RATE, hotwords=hotwords).segments
        stream = Stream(nano.model, live, hotwords=hotwords)
        events = listen(stream, talk)
        assert len(expected) == 2 and any(s.text for s in expected)
        for found, segment in zip(finals(events), expected, strict=True):
            assert (found.text, found.phonemes, found.hits) == (segment.text, segment.phonemes, segment.hits)
            assert (found.hints, found.hints_used) == (segment.hints, segment.hints_used)
            assert found.confidence == pytest.approx(segment.confidence, abs=1e-3)
        # Everything was heard once in chunks and once whole, in the same order of events as ever.
        once = Stream(nano.model, replace(live, final_context="chunks"), hotwords=hotwords)
        usual = listen(once, talk)
        assert [type(e) for e in events] == [type(e) for e in usual]
        assert [e for e in events if not isinstance(e, Final)] == [
            e for e in usual if not isinstance(e, Final)
        ]
        assert stream.stats.encoder_frames == 2 * once.stats.encoder_frames
        for block in (160, 1601, len(talk)):
            assert listen(Stream(nano.model, live, hotwords=hotwords), talk, block) == events


@pytest.mark.parametrize("seconds", [1.0, 1.28, 1.31, 1.35, 1.92])
def test_segments_of_any_length_are_heard_again_to_their_end(
    recognizer: Recognizer, speech: Floats, seconds: float
) -> None:
    """Those that end with a whole chunk, a part of one, or too little for a frame."""
    said = np.resize(speech[len(speech) // 3 : 2 * len(speech) // 3], round(seconds * SAMPLE_RATE))
    stream = recognizer.stream(StreamingConfig("final", final_context="whole"))
    heard = stream._engine.model.network.encode
    calls: list[Floats] = []

    def encode(features: Any, chunks: Any) -> Any:
        calls.extend(features)
        return heard(features, chunks)

    stream._engine._network = Spied(stream._engine._network, encode)
    stream.feed(said)
    (segment,) = finals(stream.commit())
    samples = said[round(segment.start * SAMPLE_RATE) : round(segment.end * SAMPLE_RATE)]
    expected = recognizer.model.frontend(samples)
    (found,) = calls
    # But for features at the end that make no frame.
    assert 0 <= len(expected) - len(found) < 4
    clock = recognizer.model.frontend.clock
    assert clock.output_length(len(found)) == clock.output_length(len(expected))
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-5)


class Spied:
    """A network whose whole segments are seen."""

    def __init__(self, network: Any, encode: Any) -> None:
        self._network, self.encode = network, encode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


def test_nothing_is_computed_twice(toy_checkpoint: Checkpoint, talk: Floats) -> None:
    network = toy_checkpoint.network
    heard, read = [0], [0]

    def encoding(module: Any, arguments: Any, result: Any) -> None:
        heard[0] += result.shape[0] * result.shape[1]

    def reading(module: Any, arguments: Any, options: Any) -> None:
        read[0] += options["inputs_embeds"].shape[0] * options["inputs_embeds"].shape[1]

    hooks = [
        network.encoder.input_preprocessor.register_forward_hook(encoding),
        network.llm.register_forward_pre_hook(reading, with_kwargs=True),
    ]
    try:
        recognizer = Recognizer(torch_model(toy_checkpoint))
        opening = len(recognizer.model.prompt_cache.keys[0])
        for _ in range(2):
            heard[0] = 0
            read[0] = 0
            stream = Stream(recognizer.model)
            segments = finals(listen(stream, talk))
            work = stream.stats
            frames = [((round((s.end - s.start) * SAMPLE_RATE) - 400) // 160 + 1 - 3) // 4 for s in segments]
            assert work.encoder_frames == sum(frames)
            # The last chunk of a segment is filled up to its size.
            assert heard[0] == sum(-(-one // 16) * 16 for one in frames)
            assert work.speech_tokens == sum(one // 4 for one in frames)
            assert read[0] == work.speech_tokens + work.text_tokens + work.written_tokens
        # The static prompt was read once, before either stream.
        assert opening > 0
    finally:
        for hook in hooks:
            hook.remove()


def test_stable_text_only_grows(nano: Recognizer, talk: Floats) -> None:
    config = StreamingConfig(chunk_s=0.16, rollback_tokens=2, decoding=DecodingConfig(tokens_per_second=20))
    grown = 0
    for second_pass in (True, False):
        stable = ""
        for event in listen(Stream(nano.model, replace(config, second_pass=second_pass)), talk):
            if isinstance(event, SpeechStarted):
                stable = ""
            elif isinstance(event, Partial):
                assert event.stable.startswith(stable)
                grown += len(event.stable) > len(stable)
                stable = event.stable
            elif isinstance(event, Final) and not second_pass:
                assert event.segment.text.startswith(stable.strip())
    assert grown > 4


def test_the_last_tokens_and_the_first_chunks_are_free(nano: Recognizer, talk: Floats) -> None:
    config = StreamingConfig(
        chunk_s=0.32, rollback_tokens=3, unfixed_chunks=3, voice_activity=VoiceActivityConfig(min_silence_s=2)
    )
    events = listen(Stream(nano.model, config), talk)
    partials = [e for e in events if isinstance(e, Partial)]
    (start,) = [e.time for e in events if isinstance(e, SpeechStarted)]
    assert any(partial.stable for partial in partials)
    before = ""
    for partial in partials:
        if partial.time < start + 3 * 0.32 - 1e-6:
            assert partial.stable == ""
        # Nothing becomes stable but with tokens after it. Later these may be withdrawn, and then it stands
        # alone.
        assert partial.volatile or partial.stable == before
        before = partial.stable


@pytest.mark.parametrize("rollback", [5, 2])
def test_just_so_many_tokens_are_rolled_back(
    nano: Recognizer, talk: Floats, monkeypatch: pytest.MonkeyPatch, rollback: int
) -> None:
    config = StreamingConfig(
        rollback_tokens=rollback, unfixed_chunks=1, voice_activity=VoiceActivityConfig(min_silence_s=2)
    )
    stream, kept = Stream(nano.model, config), list[tuple[int, int]]()
    genuine = Utterance._ordered

    def ordered(own: Utterance, size: int, end: Any = None) -> Any:
        kept.append((size, len(own._tokens)))
        # Every chunk counts once: by their number the first are free.
        assert own._chunks == -(-own._frames // 16)
        return genuine(own, size, end)

    monkeypatch.setattr(Utterance, "_ordered", ordered)
    stream.feed(talk)
    # What stays is all but the last so many tokens of the text before, and no less than what stayed before
    # it.
    assert any(tokens > rollback for _, tokens in kept)
    stable = 0
    for size, tokens in kept:
        stable = max(stable, tokens - rollback)
        assert size == stable


def test_what_has_no_voiced_phoneme_gets_no_text(toy_checkpoint: Checkpoint, talk: Floats) -> None:
    head = toy_checkpoint.network.phoneme_head
    assert head is not None
    bias = head.net[-1].bias
    kept = bias.detach().clone()
    try:
        bias.data[0] = 1e4
        stream = Stream(torch_model(toy_checkpoint))
        events = listen(stream, talk)
    finally:
        bias.data.copy_(kept)
    assert not [e for e in events if isinstance(e, Partial)]
    assert [s.text for s in finals(events)] == ["", ""]
    assert stream.stats.written_tokens == 0


def test_hints_reach_the_second_pass(nano: Recognizer, talk: Floats) -> None:
    stream = nano.stream(hints=["北京"])
    first = [e for e in stream.feed(talk[: 6 * SAMPLE_RATE]) if isinstance(e, Final)]
    stream.hint(["上海", "天"])
    rest = [e for e in [*stream.feed(talk[6 * SAMPLE_RATE :]), *stream.finish()] if isinstance(e, Final)]
    assert [e.segment.hints for e in first + rest] == [("北京",)] * len(first) + [("上海", "天")] * len(rest)
    for event in first + rest:
        assert event.segment.hints_used == tuple(h for h in event.segment.hints if h in event.segment.text)
    # The hints were read, and where none of them was said the text is what it would be without.
    plain = Stream(nano.model)
    without = finals(listen(plain, talk))
    assert stream.stats.text_tokens > plain.stats.text_tokens
    assert [e.segment.text for e in first + rest] == [s.text for s in without]
    with pytest.raises(InputError, match="at most 20"):
        nano.stream(hints=["x"] * 21)


def test_several_beams_write_the_final(nano: Recognizer, talk: Floats) -> None:
    decoding = DecodingConfig(beam_size=4)
    config = StreamingConfig(decoding=decoding)
    offline = Recognizer(nano.model, RecognitionConfig(decoding=decoding, chunks=config.chunks(4, 0.04)))
    expected = offline.transcribe(talk, sample_rate=SAMPLE_RATE).segments
    events = listen(Stream(nano.model, config), talk)
    assert [s.text for s in finals(events)] == [s.text for s in expected]
    # What is shown meanwhile is searched greedily, as ever.
    greedy = [e for e in listen(Stream(nano.model), talk) if isinstance(e, Partial)]
    assert [e for e in events if isinstance(e, Partial)] == greedy


def test_a_commit_by_hand(recognizer: Recognizer, speech: Floats) -> None:
    stream = recognizer.stream()
    assert stream.commit() == []
    stream.feed(speech[:SAMPLE_RATE])
    events = stream.commit()
    assert [type(e) for e in events if not isinstance(e, Partial)] == [SpeechEnded, Final]
    assert isinstance(events[-1], Final) and events[-1].segment.end <= 1.0
    after = [e for e in [*stream.feed(speech), *stream.finish()] if isinstance(e, SpeechStarted)]
    assert after[0].time >= events[-1].segment.end


def test_segments_are_never_longer_than_the_longest(recognizer: Recognizer, speech: Floats) -> None:
    middle = np.tile(speech[len(speech) // 3 : 2 * len(speech) // 3], 20)
    config = StreamingConfig("final", voice_activity=VoiceActivityConfig(max_segment_s=3.0))
    events = listen(Stream(recognizer.model, config), middle)
    segments = finals(events)
    assert len(segments) >= 4 and all(s.end - s.start <= 3.0 + 1e-6 for s in segments)
    assert EndReason.MAX_DURATION in [e.reason for e in events if isinstance(e, SpeechEnded)]
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(segments))


def test_work_a_second_does_not_grow(recognizer: Recognizer, speech: Floats) -> None:
    middle = speech[len(speech) // 3 : 2 * len(speech) // 3]
    config = StreamingConfig(voice_activity=VoiceActivityConfig(max_segment_s=4.0))
    rates, places = [], []
    for seconds in (10, 40):
        stream = Stream(recognizer.model, config)
        samples = np.resize(middle, seconds * SAMPLE_RATE)
        listen(stream, samples)
        work = stream.stats
        rates.append((work.speech_tokens + work.text_tokens + work.written_tokens) / seconds)
        places.append(stream._engine._cache._layers[0].store.shape)
    assert rates[1] < 1.2 * rates[0]
    # Nor does the memory.
    assert places[0] == places[1]


@pytest.mark.slow
def test_an_hour_of_silence_says_nothing(recognizer: Recognizer) -> None:
    stream = recognizer.stream()
    minute = np.zeros(60 * SAMPLE_RATE, np.float32)
    for _ in range(60):
        assert stream.feed(minute) == []
    assert stream.finish() == []


def test_samples_of_any_kind(recognizer: Recognizer, speech: Floats) -> None:
    expected = listen(recognizer.stream(), np.round(speech * 32768) / np.float32(32768))
    pcm = np.clip(np.round(speech * 32768), -32768, 32767).astype("<i2")
    assert listen(recognizer.stream(), pcm) == expected  # type: ignore[arg-type]
    stream = recognizer.stream()
    assert [*stream.feed(pcm.tobytes()), *stream.finish()] == expected
    stereo = recognizer.stream(channels=2)
    assert [*stereo.feed(np.stack([pcm, pcm], axis=1).tobytes()), *stereo.finish()] == expected
    double = recognizer.stream(sample_rate=32_000)
    assert finals([*double.feed(np.repeat(speech, 2)), *double.finish()])


def test_bad_input_is_said_and_nothing_is_lost(recognizer: Recognizer, speech: Floats) -> None:
    stream = recognizer.stream()
    events = stream.feed(speech[:9000])
    for wrong, said in (
        (np.array([0.1, np.nan], np.float32), "NaN"),
        (np.zeros((4, 2), np.float32), "1 channel"),
        (b"abc", "3 bytes are no whole number"),
        (np.array(["a"]), "no sound"),
    ):
        with pytest.raises(InputError, match=said):
            stream.feed(wrong)
    assert stream.feed(np.zeros(0, np.float32)) == [] == stream.feed(b"")
    events += [*stream.feed(speech[9000:]), *stream.finish()]
    assert events == listen(recognizer.stream(), speech, len(speech))
    for late in (lambda: stream.feed(speech), stream.finish, stream.commit):
        with pytest.raises(InputError, match="finished"):
            late()


def test_nothing_heard_nothing_said(recognizer: Recognizer) -> None:
    assert recognizer.stream().finish() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "loud"},
        {"chunk_s": 0.0},
        {"rollback_tokens": 0},
        {"final_context": "all"},
        {"final_context": "whole", "second_pass": False},
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"mode|chunk|rolled|context|second pass"):
        StreamingConfig(**wrong)


def test_a_chunk_of_no_whole_speech_token(recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="multiple of 160 ms, not 500 ms"):
        recognizer.stream(StreamingConfig(chunk_s=0.5))


def test_a_recording_as_if_live(recognizer: Recognizer, talk: Floats, tmp_path: Any) -> None:
    import soundfile

    path = tmp_path / "talk.wav"
    soundfile.write(path, talk, SAMPLE_RATE, subtype="FLOAT")
    transcript = transcribe_live(recognizer.model, path)
    assert transcript.audio == str(path) and transcript.duration == pytest.approx(len(talk) / SAMPLE_RATE)
    assert list(transcript.segments) == finals(listen(recognizer.stream(), talk))


async def heard_by_a_task(stream: Stream, samples: Floats, block: int) -> list[Event]:
    """One task feeds, another iterates."""
    found: list[Event] = []

    async def iterate() -> None:
        async for event in stream.events():
            found.append(event)

    async def feed() -> None:
        for i in range(0, len(samples), block):
            assert stream.feed(samples[i : i + block]) == []
            await asyncio.sleep(0)
        assert stream.commit() == stream.finish() == []

    await asyncio.gather(iterate(), feed())
    return found


@pytest.mark.parametrize("block", [1600, 100_000])
def test_events_of_asyncio_are_those_of_feed(recognizer: Recognizer, talk: Floats, block: int) -> None:
    samples = np.concatenate([talk, QUIET])
    expected = listen(recognizer.stream(), samples)
    assert len(finals(expected)) == 2
    assert asyncio.run(heard_by_a_task(recognizer.stream(), samples, block)) == expected


def test_a_thread_may_feed_and_iteration_be_left_and_begun_again(
    recognizer: Recognizer, talk: Floats
) -> None:
    stream = recognizer.stream()
    events = stream.events()

    async def some(count: int) -> list[Event]:
        found: list[Event] = []
        async for event in stream.events():
            found.append(event)
            if len(found) == count:
                break
        return found

    async def fed_by_a_thread() -> list[Event]:
        first = asyncio.create_task(some(3))
        # The task waits for sound before there is any.
        await asyncio.sleep(0)
        await asyncio.to_thread(stream.feed, talk)
        return await first

    found = asyncio.run(fed_by_a_thread())
    assert stream.events() is events and stream.finish() == []
    # In another loop, behind the events that were told.
    assert found + asyncio.run(some(-1)) == listen(recognizer.stream(), talk)
    assert asyncio.run(some(-1)) == [] and stream.waiting_s == 0
    with pytest.raises(InputError, match="finished"):
        stream.feed(talk)


def test_what_a_stream_fails_by_comes_behind_its_events(
    recognizer: Recognizer, talk: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Utterance, "hear", lambda *_: 1 / 0)
    stream = recognizer.stream()
    found: list[Event] = []

    async def iterate() -> None:
        async for event in stream.events():
            found.append(event)

    async def both() -> None:
        task = asyncio.create_task(iterate())
        await asyncio.sleep(0)
        stream.feed(talk)
        await task

    with pytest.raises(ZeroDivisionError):
        asyncio.run(both())
    assert [type(event) for event in found] == [SpeechStarted]
    with pytest.raises(ZeroDivisionError):
        stream.feed(talk)
