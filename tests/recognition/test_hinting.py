from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.hints import HintConfig
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced, packed, pronounce_name
from nim4asr.hotwords.search import certain
from nim4asr.model.decoding import DecodingConfig
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.recognition import engine as engines
from nim4asr.recognition import utterance
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.events import Final, Partial
from nim4asr.recognition.hinting import HintPolicy, confirmed_by_audio, with_hits
from nim4asr.recognition.hypothesis import Hypothesis
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.result import Segment
from nim4asr.recognition.search import Beam
from nim4asr.recognition.streaming import Stream
from nim4asr.recognition.words import to_segment

CLIP = "tests/clips/zh-1.flac"


@pytest.fixture(scope="module")
def nano() -> Recognizer:
    return Recognizer.load()


@pytest.fixture(scope="module")
def names() -> HotwordIndex:
    """``中国人`` is said in the clip."""
    return HotwordIndex([assemble([pronounce_name(Name(n))[0] for n in ("中国人", "天安门广场", "上海市")])])


def heard_as(
    said: str, text: str, hints: Sequence[str], index: HotwordIndex | None = None
) -> tuple[Segment, Any]:
    """A segment in which ``said`` was heard for certain and ``text`` was written with ``hints``."""
    log_probs = certain(TABLE.encode(pronounce(said)))
    listener = HintPolicy(index, tuple(hints)).listen(0.04)
    listener.feed(log_probs)
    segment = to_segment(5.0, 5.0 + 0.04 * len(log_probs), Hypothesis(text, 1.0), log_probs, 0.04)
    return with_hits(segment, listener.heard()), log_probs


def test_names_that_were_heard_become_hints(names: HotwordIndex) -> None:
    segment, _ = heard_as("我是中国人", "我是中国人", [], names)
    assert [hit.text for hit in segment.hits] == ["中国人"] and segment.hints == segment.hints_used == (
        "中国人",
    )
    # Its place is told from the start of the audio, as the words' are.
    word = next(word for word in segment.words if word.text == "中")
    assert segment.hits[0].start == pytest.approx(word.start)


@pytest.mark.parametrize(
    ("said", "text", "hints", "stands"),
    [
        ("我是中国人", "我是中国人", ["中国人"], True),
        # Nobody said it.
        ("今天天气很好", "中国人很好", ["中国人"], False),
        # It was said, but not there.
        ("中国人今天天气很好大家都很高兴", "中国人今天天气很好大家都是中国人", ["中国人"], False),
        # No hint in it: the text without hints will do.
        ("今天天气很好", "今天天气很好", ["中国人"], False),
        # Letters inside another word are no hint: there is no use for it, and nothing bears it out.
        ("we were planning", "we were planning", ["Ann"], False),
        ("ann was planning", "ann was planning", ["Ann"], True),
        ("we were planning", "we and Oscar were planning", ["Oscar"], False),
        ("我和Ann说", "我和ann说", ["Ann"], True),
        ("五g手机", "五g手机", ["5G"], True),
        # What has no sound cannot be contradicted.
        ("今天天气很好", "今天नमस्ते很好", ["नमस्ते"], True),
    ],
)
def test_a_hint_stands_where_it_was_heard(said: str, text: str, hints: list[str], stands: bool) -> None:
    segment, log_probs = heard_as(said, text, hints)
    assert confirmed_by_audio(segment, log_probs, 0.04) is stands


def test_no_voice_no_hint(names: HotwordIndex) -> None:
    listener = HintPolicy(names, ("北京",)).listen(0.04)
    silence = np.full((100, len(TABLE)), -12.0, np.float32)
    silence[:, 0] = -0.001
    listener.feed(silence)
    assert listener.heard().hints == () and listener.heard().hits == ()
    with pytest.raises(InputError, match="at most 20"):
        HintPolicy(None, ("x",) * 21)


def test_recordings_are_searched_too(nano: Recognizer, names: HotwordIndex) -> None:
    (plain,) = nano.transcribe(CLIP).segments
    (segment,) = nano.transcribe(CLIP, hotwords=names).segments
    assert [hit.text for hit in segment.hits] == ["中国人"]
    # The model writes it anyway, so it needs no hint.
    assert segment.hints == () and segment.text == plain.text == "他是中国人"
    only = Recognizer(nano.model, RecognitionConfig(hints=HintConfig(max_hints=0)))
    assert only.transcribe(CLIP, hotwords=names).segments[0].hits == segment.hits


def scripted(monkeypatch: pytest.MonkeyPatch, draft: str, hinted: str) -> list[Sequence[str]]:
    """Let the language model write ``hinted`` where it has hints and ``draft`` where not; what it was
    given.
    """
    given: list[Sequence[str]] = []

    class Scripted:
        """A search that is done at once."""

        def __init__(self, hints: Sequence[str], tokens: list[int]) -> None:
            given.append(hints)
            self.done = False
            self.ranked = [Beam(tokens, [-0.7] * len(tokens), "", 0.0, 0)]

        def pending(self) -> list[tuple[int, int]]:
            return []

        def accept(self, log_probs: Floats) -> None:
            self.done = True

        def release(self) -> None: ...

    def open_search(self: Any, cache: Any, order: Any) -> Any:
        text = hinted if order.hinted else draft
        self.search = Scripted(order.hints, self._tokenizer.encode(text))
        return self.search

    monkeypatch.setattr(utterance.Utterance, "open_search", open_search)
    return given


def test_a_recording_with_a_hint(
    nano: Recognizer, names: HotwordIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = scripted(monkeypatch, "他是忠国人", "他是中国人")
    (segment,) = nano.transcribe(CLIP, hotwords=names).segments
    assert given == [(), ("中国人",)]
    assert segment.text == "他是中国人" and segment.hints_used == ("中国人",)


@pytest.mark.parametrize(("weight", "text"), [(0.0, "他是中国人"), (4.0, "他是中果人")])
def test_a_hint_draws_the_search_to_what_sounds_the_same(nano: Recognizer, weight: float, text: str) -> None:
    from nim4asr.audio.reading import read_audio

    decoding = DecodingConfig(hint_weight=weight)
    recognizer = Recognizer(nano.model, RecognitionConfig(decoding=decoding))
    assert recognizer.transcribe(CLIP, hints=["中果"]).text == text
    stream = recognizer.stream(StreamingConfig(decoding=decoding), hints=["中果"])
    events = [*stream.feed(read_audio(CLIP)), *stream.finish()]
    assert [event.segment.text for event in events if isinstance(event, Final)] == [text]
    # What is nowhere heard is not printed, however it is drawn to.
    assert recognizer.transcribe(CLIP, hints=["上海市"]).text == "他是中国人"


@pytest.mark.parametrize("hinted", ["上海市中国人", "他是忠国"])
def test_a_hint_that_the_sound_contradicts_is_not_printed(
    nano: Recognizer, names: HotwordIndex, monkeypatch: pytest.MonkeyPatch, hinted: str
) -> None:
    scripted(monkeypatch, "他是忠国人", hinted)
    (segment,) = nano.transcribe(CLIP, hotwords=names, hints=["上海市"]).segments
    assert segment.hints == ("上海市", "中国人")
    assert segment.text == "他是忠国人" and segment.hints_used == ()


@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_a_stream_writes_again_what_the_sound_contradicts(
    nano: Recognizer, names: HotwordIndex, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    from nim4asr.audio.reading import read_audio

    samples = read_audio(CLIP)
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        utterance,
        "confirmed_by_audio",
        lambda segment, log_probs, frame_s: asked.append(segment.hints) or len(asked) > 1,
    )

    def final(stream: Stream) -> Segment:
        (event,) = [e for e in [*stream.feed(samples), *stream.finish()] if isinstance(e, Final)]
        return event.segment

    config = StreamingConfig(mode)
    plain = final(nano.stream(config))
    assert asked == []
    refused = final(nano.stream(config, hints=["上海市"], hotwords=names))
    # Asked once; the text written again, without hints, is not judged.
    assert len(asked) == 1 and refused.text == plain.text and refused.hints == asked[0]
    assert [hit.text for hit in refused.hits] == ["中国人"]
    kept = final(nano.stream(config, hints=["上海市"], hotwords=names))
    assert len(asked) == 2 and kept.hints == asked[1]


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_silence_and_noise_give_no_name(nano: Recognizer, names: HotwordIndex, size: int) -> None:
    random = np.random.default_rng(0)
    said = [packed(one) for one in random.integers(1, len(TABLE), (size, 8)).tolist()]
    crowd = assemble([Pronounced(Name(f"n{i}"), (one,)) for i, one in enumerate(said)])
    index = HotwordIndex([*names.databases, crowd])
    noise = (0.05 * random.standard_normal(4 * SAMPLE_RATE)).astype(np.float32)
    for sound in (np.zeros(4 * SAMPLE_RATE, np.float32), noise):
        transcript = nano.transcribe(sound, sample_rate=SAMPLE_RATE, hotwords=index, hints=["北京"])
        assert transcript.text == "" and not any(s.hits or s.hints for s in transcript.segments)


def test_many_streams_hear_names_as_each_alone(nano: Recognizer, names: HotwordIndex, speech: Floats) -> None:
    from nim4asr.audio.reading import read_audio

    clips = [read_audio(CLIP), speech]
    alone = []
    for clip in clips:
        stream = nano.stream(hotwords=names)
        events = [*stream.feed(clip), *stream.finish()]
        alone.append([e.segment for e in events if isinstance(e, Final)])
    together = engines.Engine(nano.model)
    opened = [together.open(hotwords=names) for _ in clips]
    for name, clip in zip(opened, clips, strict=True):
        name.feed(clip)
        name.finish()
    found: dict[engines.StreamHandle, list[Segment]] = {name: [] for name in opened}
    while any(name.busy for name in opened):
        for name, events_of in together.step().items():
            found[name] += [e.segment for e in events_of if isinstance(e, Final)]
    for name, expected in zip(opened, alone, strict=True):
        rounded = [[round(h.evidence, 3) for h in s.hits] for s in expected]
        assert [[round(h.evidence, 3) for h in s.hits] for s in found[name]] == rounded
        assert [replace(s, confidence=0, words=(), hits=(), tokens=()) for s in found[name]] == [
            replace(s, confidence=0, words=(), hits=(), tokens=()) for s in expected
        ]


@pytest.mark.parametrize("hint", ["Москва", "नमस्ते", "北京\u0e01", "<|im_end|>"])
def test_a_hint_without_a_pronunciation_does_no_harm(nano: Recognizer, hint: str) -> None:
    from nim4asr.audio.reading import read_audio

    assert nano.transcribe(CLIP, hints=[hint]).text == "他是中国人"
    stream = nano.stream(hints=[hint])
    finals = [e for e in [*stream.feed(read_audio(CLIP)), *stream.finish()] if isinstance(e, Final)]
    assert [e.segment.text for e in finals] == ["他是中国人"]


@pytest.mark.parametrize(("hint", "said"), [("\ud800", "no characters"), ("x" * 201, "are no name")])
def test_what_is_no_hint_is_refused_before_anything_is_heard(nano: Recognizer, hint: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        nano.transcribe(CLIP, hints=[hint])
    with pytest.raises(InputError, match=said):
        nano.stream(hints=[hint])
    with pytest.raises(InputError, match=said):
        nano.stream().hint([hint])


def test_partials_see_the_hits_so_far(nano: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    from nim4asr.audio.reading import read_audio

    given: list[tuple[str, ...]] = []
    true_after = engines.tokens_after
    monkeypatch.setattr(
        engines, "tokens_after", lambda t, c, hints=(): given.append(tuple(hints)) or true_after(t, c, hints)
    )
    index = HotwordIndex()
    index.add([Name("中果", weight=20.0)])
    stream = nano.stream(StreamingConfig(decoding=DecodingConfig(hint_weight=3.0)), hotwords=index)
    # All but the pause that ends the segment.
    events = stream.feed(read_audio(CLIP)[:-4000])
    assert not any(isinstance(event, Final) for event in events)
    # Heard in the middle of the sentence, it is a hint from then on, before the segment ends.
    assert given[0] == () and given[-1] == ("中果",)
    assert any("中果" in e.stable + e.volatile for e in events if isinstance(e, Partial))


def test_a_partial_is_written_again_where_a_hint_was_not_said(
    nano: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nim4asr.audio.reading import read_audio

    def partials(hints: list[str]) -> list[Partial]:
        stream = nano.stream(hints=hints)
        return [e for e in [*stream.feed(read_audio(CLIP)), *stream.finish()] if isinstance(e, Partial)]

    plain = partials([])
    monkeypatch.setattr(utterance, "contradicted", lambda segment, log_probs, frame_s: True)
    assert partials(["中国人"]) == plain


@pytest.mark.parametrize("mode", ["refresh", "final"])
def test_hints_stand_in_the_prompt_of_the_final(
    nano: Recognizer, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    from nim4asr.audio.reading import read_audio

    given: list[tuple[str, ...]] = []
    genuine = engines.tokens_after
    monkeypatch.setattr(
        engines, "tokens_after", lambda t, c, hints=(): given.append(tuple(hints)) or genuine(t, c, hints)
    )
    stream = nano.stream(StreamingConfig(mode), hints=["中国人"])
    stream.feed(read_audio(CLIP)[:-4000])
    before = len(given)
    stream.finish()
    assert given[before:] == [("中国人",)]
