from random import Random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes.english import dictionary
from nim4asr.recognition.guards import (
    _has_repeated_pieces,
    loop_length,
    runs_away,
    stretch,
    text_runs_away,
    without_loop,
    without_runaway,
)
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
        # Words of repeated pieces.
        ("lokokokochokoko", True),
        ("unique delevilleville", True),
        ("so tinkatinkatinkati", True),
        ("the nationalnational", True),
        ("мамамамалыш", True),
        # Words, laughter, and what people say again.
        ("Mississippi", False),
        ("bananas in Honolulu", False),
        ("Kamehameha", False),
        ("yabbadabbadoo", False),
        ("couscous", False),
        ("hahahaha", False),
        ("bye bye", False),
        ("no no no", False),
        ("very very very very", False),
        ("哈哈哈", False),
        ("谢谢谢谢", False),
        ("对对对对对", False),
        # Numbers that are dialed.
        ("一三八八八八八八八八八", False),
        ("打八八八八八八八八八八八八", False),
        ("one three" + " eight" * 9, False),
        ("call 13888888888", False),
        ("八" * 16, True),
        ("第一" * 8, True),
        ("one eight" + " eight" * 20, True),
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
    assert runs_away(tokenizer, tokens, text, CONFIG) == (kept != text)
    hypothesis = to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG)
    assert hypothesis.text == kept
    assert to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG, len(tokens)).text == text


def test_no_word_of_the_dictionary_is_of_repeated_pieces() -> None:
    """Nor is one while it is being written."""
    for word in dictionary():
        for end in range(6, len(word) + 1):
            assert not _has_repeated_pieces(word[:end].replace("-", "")[: end - word.count("-")]), word


class Letters:
    """A tokenizer of a character a token, which counts the tokens that it decodes."""

    end = -1
    decoded = 0

    def decode(self, tokens: list[int]) -> str:
        self.decoded += len(tokens)
        return "".join(map(chr, tokens))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("一三八八八八八八八八八", "一三八八八八八八八八八"),
        ("打八八八八八八八八一一一一", "打八八八八八八八八一一一一"),
        ("one three" + " eight" * 9, "one three" + " eight" * 9),
        ("谢谢谢谢", "谢谢谢谢"),
        ("哈哈哈哈", "哈哈哈哈"),
        ("no no no no", "no no no no"),
        ("banana", "banana"),
        ("他说" + "第一" * 4, "他说第一"),
        ("unique delevilleville", "unique"),
        ("he said lokokokochokoko", "he said"),
    ],
)
def test_what_is_said_again_stays_and_repeated_pieces_go(text: str, kept: str) -> None:
    tokenizer = cast(Tokenizer, Letters())
    tokens = list(map(ord, text))
    assert runs_away(tokenizer, tokens, text, CONFIG) == (kept != text)
    assert to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG).text == kept
    assert len(without_runaway(tokenizer, tokens, CONFIG, len(tokens))) == len(tokens)


@given(st.lists(st.sampled_from("ab"), max_size=24), st.integers(1, 8))
def test_the_stretch_of_a_period(letters: list[str], period: int) -> None:
    equal = [letters[i] == letters[i - period] for i in range(period, len(letters))]
    expected = next((i for i, one in enumerate(reversed(equal)) if not one), len(equal))
    assert stretch(letters, period) == expected


def test_guards_take_time_in_proportion_to_the_text() -> None:
    """Each token is decoded so many times, whatever the length."""

    shares = []
    for size in (500, 5000):
        tokens = list(range(0x4E10, 0x4E10 + size))
        counting = Letters()
        tokenizer = cast(Tokenizer, counting)
        assert not runs_away(tokenizer, tokens, "".join(map(chr, tokens)), CONFIG) and counting.decoded <= 200
        assert without_runaway(tokenizer, [*tokens, *[65, 66, 67] * 50], CONFIG) == [*tokens, 65, 66, 67]
        shares.append(counting.decoded / size)
    assert shares[1] <= shares[0] < 20
