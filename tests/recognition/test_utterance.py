"""What one segment's texts amount to, without a network: posteriors and texts are given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nim4asr.acoustics.clock import FrameClock
from nim4asr.audio.voice_activity import EndReason
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.search import certain
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import BLANK, TABLE, pronounce
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.events import Final, Partial
from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd
from nim4asr.recognition.hinting import HintPolicy
from nim4asr.recognition.utterance import Order, Utterance, Written
from nim4asr.runtime.network import Encoded

CONFIG = StreamingConfig(decoding=DecodingConfig(), rollback_tokens=2, unfixed_chunks=1)
END = SpeechEnd(9.0, EndReason.SILENCE)


@pytest.fixture
def tokenizer(toy_checkpoint: Checkpoint) -> Tokenizer:
    assert toy_checkpoint.tokenizer is not None
    return toy_checkpoint.tokenizer


def opened(
    tokenizer: Tokenizer,
    said: str,
    config: StreamingConfig = CONFIG,
    recorded: bool = False,
    names: tuple[str, ...] = (),
    last: bool = False,
) -> Utterance:
    """A segment from 5 s on in which ``said`` was heard for certain, in one chunk."""
    index = HotwordIndex()
    index.add(Name(name) for name in names)
    listener = HintPolicy(index).listen(0.04)
    utterance = Utterance(config, tokenizer, 4, FrameClock(100, 4, 3), 5.0, listener, 0, 3, None, recorded)
    log_probs = certain(TABLE.encode(pronounce(said)))
    chunk = FeatureChunk(np.zeros((1, 80), np.float32), len(log_probs), last)
    utterance.hear(chunk, Encoded(log_probs, np.zeros((len(log_probs) // 4, 32), np.float32)))
    return utterance


def written(tokenizer: Tokenizer, text: str, end: bool = True) -> Written:
    tokens = [*tokenizer.encode(text), *([tokenizer.end] if end else [])]
    return Written(tuple(tokens), (-0.1,) * len(tokens))


def concluded(utterance: Utterance, order: Order, text: Written) -> Any:
    utterance.order = None
    return utterance.conclude(order, text)


@pytest.mark.parametrize("ended", [True, False])
def test_a_partial_shows_its_text_and_keeps_all_but_the_last_tokens(
    tokenizer: Tokenizer, ended: bool
) -> None:
    utterance = opened(tokenizer, "今天天气很好")
    assert utterance.order is not None and utterance.order.tokens == ()
    event = concluded(utterance, utterance.order, written(tokenizer, "今天天气", ended))
    tokens = tokenizer.encode("今天天气")
    stable = tokenizer.decode(tokens[:-2])
    assert event == Partial(5.0 + utterance.seconds, stable, "今天天气"[len(stable) :])
    # The same once more says nothing new.
    assert concluded(utterance, Order(), written(tokenizer, "今天天气")) is None
    # A shorter text takes nothing stable back.
    event = concluded(utterance, Order(), written(tokenizer, "今天"))
    assert event.stable == stable


def test_the_first_chunks_keep_nothing(tokenizer: Tokenizer) -> None:
    utterance = opened(tokenizer, "今天天气很好", replace(CONFIG, unfixed_chunks=2))
    assert concluded(utterance, Order(), written(tokenizer, "今天天气")).stable == ""


def test_a_final_is_the_text_that_was_ordered(tokenizer: Tokenizer) -> None:
    utterance = opened(tokenizer, "今天天气很好", last=True)
    assert utterance.order is None and utterance.end(END) is None
    order: Any = utterance.order
    assert order.end == END and order.tokens == () and not order.hinted
    event = concluded(utterance, order, written(tokenizer, "今天天气"))
    assert isinstance(event, Final) and event.time == 9.0
    assert (event.segment.start, event.segment.end, event.segment.text) == (5.0, 9.0, "今天天气")
    assert event.segment.confidence == pytest.approx(np.exp(-0.1))


def test_a_name_in_the_draft_needs_no_hint(tokenizer: Tokenizer) -> None:
    for draft, hints in (("今天天气很好", ()), ("今天", ("天气很好",))):
        utterance = opened(tokenizer, "今天天气很好", names=("天气很好",))
        concluded(utterance, Order(), written(tokenizer, draft))
        assert utterance.end(END) is None
        assert utterance.order is not None and utterance.order.hints == hints
        assert [hit.text for hit in utterance.order.heard.hits] == ["天气很好"]


def test_what_was_written_with_hints_is_no_draft(tokenizer: Tokenizer) -> None:
    """It may hold the name because it was hinted: only what has become stable says so."""
    utterance = opened(tokenizer, "今天天气很好", names=("天气很好",))
    order: Any = utterance.order
    assert order.hinted
    concluded(utterance, order, written(tokenizer, "今天天气很好"))
    assert utterance.end(END) is None
    assert utterance.order is not None and utterance.order.hints == ("天气很好",)


@pytest.mark.parametrize(("hinted", "text"), [("今天天气很好", "今天天气很好"), ("今天很好", "今天")])
def test_a_recordings_draft_comes_first_and_stays_where_hints_do_not(
    tokenizer: Tokenizer, hinted: str, text: str
) -> None:
    utterance = opened(tokenizer, "今天天气很好", recorded=True, names=("天气很好",), last=True)
    assert utterance.end(END) is None
    first: Any = utterance.order
    assert first.hints == () and concluded(utterance, first, written(tokenizer, "今天")) is None
    second: Any = utterance.order
    assert second.hints == ("天气很好",)
    event = concluded(utterance, second, written(tokenizer, hinted))
    # Written once with hints and once without, and not again.
    assert utterance.order is None and event.segment.text == text
    assert event.segment.hints == ("天气很好",)


def test_a_live_final_is_written_again_without_the_hints_that_were_not_said(tokenizer: Tokenizer) -> None:
    utterance = opened(tokenizer, "今天天气很好", names=("天气很好",), last=True)
    assert utterance.end(END) is None
    first: Any = utterance.order
    assert first.hinted and concluded(utterance, first, written(tokenizer, "今天")) is None
    second: Any = utterance.order
    assert second.hints == () and second.heard == first.heard and second.end == END
    event = concluded(utterance, second, written(tokenizer, "今天"))
    assert event.segment.text == "今天" and event.segment.hints == ("天气很好",)


def test_nobody_spoke_nobody_is_asked(tokenizer: Tokenizer) -> None:
    utterance = opened(tokenizer, "今天", last=True)
    silent = Utterance(
        CONFIG, tokenizer, 4, FrameClock(100, 4, 3), 5.0, HintPolicy().listen(0.04), 0, 3, None, False
    )
    silence = np.full((40, len(TABLE)), -12.0, np.float32)
    silence[:, 0] = -0.001
    chunk = FeatureChunk(np.zeros((1, 80), np.float32), 40, True)
    silent.hear(chunk, Encoded(silence, np.zeros((10, 32), np.float32)))
    event = silent.end(END)
    assert isinstance(event, Final) and (event.segment.text, event.segment.confidence) == ("", 1.0)
    assert silent.order is None and utterance.end(END) is None


def test_the_budget_is_that_of_the_whole_segment(tokenizer: Tokenizer) -> None:
    utterance = opened(tokenizer, "今天天气很好", last=True)
    assert utterance.end(END) is None and utterance.order is not None
    final: Any = utterance.open_search(None, utterance.order)  # type: ignore[arg-type]
    partial: Any = utterance.open_search(None, Order())  # type: ignore[arg-type]
    decoding = DecodingConfig()
    assert final._budget == decoding.max_new_tokens(4.0)
    assert partial._budget == decoding.max_new_tokens(utterance.seconds)


def heard_with(tokenizer: Tokenizer, entropy: float, frames: int, config: StreamingConfig) -> Utterance:
    """A segment of ``frames`` frames of a phoneme, each with an entropy of ``entropy`` nats, and blanks."""
    # One phoneme of probability p, and the rest shared by all others but the blank.
    others = len(TABLE) - 2
    low, high = 1 / (others + 1), 1.0
    for _ in range(60):
        p = (low + high) / 2
        found = -p * np.log(p) - (1 - p) * np.log(max(1 - p, 1e-300) / others)
        low, high = (p, high) if found > entropy else (low, p)
    row = np.full(len(TABLE), np.log(max(1 - p, 1e-300) / others))
    row[BLANK], row[7] = -np.inf, np.log(p)
    blank = np.full(len(TABLE), -np.inf)
    blank[BLANK] = 0.0
    log_probs = np.stack([row, blank] * frames).astype(np.float32)
    utterance = Utterance(
        config, tokenizer, 4, FrameClock(100, 4, 3), 5.0, HintPolicy().listen(0.04), 0, 3, None, whole=False
    )
    chunk = FeatureChunk(np.zeros((1, 80), np.float32), len(log_probs), last=False)
    utterance.hear(chunk, Encoded(log_probs, np.zeros((len(log_probs) // 4, 32), np.float32)))
    return utterance


@pytest.mark.parametrize(
    ("entropy", "frames", "text"),
    [(1.6, 4, True), (1.8, 4, False), (1.8, 11, False), (1.8, 12, True), (3.0, 11, False), (0.01, 2, True)],
)
def test_a_short_sound_that_could_be_anything_is_no_word(
    tokenizer: Tokenizer, entropy: float, frames: int, text: bool
) -> None:
    guarded = replace(CONFIG, decoding=DecodingConfig(max_entropy=1.7))
    utterance = heard_with(tokenizer, entropy, frames, guarded)
    assert (utterance.order is not None) == text
    utterance.order = None
    final = utterance.end(END)
    assert (utterance.order is not None) == text
    if not text:
        assert isinstance(final, Final) and final.segment.text == "" and final.segment.hits == ()
    # Without the guard, anything is written.
    free = heard_with(tokenizer, entropy, frames, CONFIG)
    assert free.order is not None and free.end(END) is None


@pytest.mark.parametrize("wrong", [{"max_entropy": -0.1}, {"short_frames": -1}])
def test_guards_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_entropy and short_frames"):
        DecodingConfig(**wrong)
