from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.recognition.guards import loop_length, runs_away, text_runs_away, without_loop
from nim4asr.recognition.hypothesis import to_hypothesis

CONFIG = DecodingConfig()


def test_loops_are_seen() -> None:
    assert loop_length([1, 2, 3] * 4, CONFIG) == 3
    assert loop_length([9, *[1, 2] * 4], CONFIG) == 2
    assert loop_length([1, 2] * 3, CONFIG) == 0
    assert loop_length([7] * 8, CONFIG) == 1
    assert loop_length([7] * 7, CONFIG) == 0


@given(st.lists(st.integers(0, 3), max_size=30))
def test_text_without_a_loop_is_left_alone(tokens: list[int]) -> None:
    kept = without_loop(tokens, CONFIG)
    assert kept == tokens[: len(kept)]
    if not loop_length(tokens, CONFIG):
        assert kept == tokens
    else:
        assert not loop_length(kept, CONFIG)


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(0, 30))
def test_a_loop_is_cut_no_further_than_what_must_stay(tokens: list[int], least: int) -> None:
    kept = without_loop(tokens, CONFIG, least)
    assert kept == tokens[: len(kept)]
    assert len(kept) >= min(least, len(tokens))


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("je" + "bbo" * 6, True),
        ("so he said " + "ab" * 8, True),
        ("and the man" + " and the man" * 4, True),
        ("x" * 46, True),
        ("哈" * 16, True),
        ("no no no no", False),
        ("哈哈哈哈", False),
        ("pneumonoultramicroscopicsilicovolcanoconiosis", False),
        ("他说" + "一二三四五" * 20 + "六", False),
        ("", False),
    ],
)
def test_text_that_no_listener_would_write_on(text: str, away: bool) -> None:
    assert text_runs_away(text, CONFIG) == away


def spelled(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of ``text``, a letter each."""
    return [token for letter in text for token in tokenizer.encode(letter)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        # Of a loop that no four tokens show, one copy stays; of a word that is none, nothing.
        ("he is" + "hearitoday" * 4, "he ishearitoday"),
        ("he is " + "weathrino" * 6, "he is weathrino"),
        ("how " + "".join(Random(0).choices("howareytdisfnl", k=60)), "how"),
        ("how are you", "how are you"),
    ],
)
def test_letter_soup_is_cut(toy_checkpoint: Checkpoint, text: str, kept: str) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    tokens = spelled(tokenizer, text)
    text = tokenizer.decode(tokens)
    assert runs_away(tokenizer, tokens, CONFIG) == (kept != text)
    hypothesis = to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG)
    assert hypothesis.text == kept
    assert to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG, len(tokens)).text == text
