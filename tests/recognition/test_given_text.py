from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.phonemes import TABLE
from nim4asr.recognition.given_text import given_words, shown


def read(text: str) -> list[tuple[str, str, str]]:
    """Each word, with its marks, and as it sounds."""
    return [
        (
            text[word.start : word.end],
            text[word.shown_start : word.shown_end],
            " ".join(TABLE.decode(word.phonemes)),
        )
        for word in given_words(text)
    ]


def test_words_keep_their_marks_and_capitals() -> None:
    text = "“Hi,” she said—twice.\n(Really?)"
    assert [(word, whole) for word, whole, _ in read(text)] == [
        ("Hi", "“Hi,”"), ("she", "she"), ("said", "said—"), ("twice", "twice."), ("Really", "(Really?)")
    ]  # fmt: skip
    assert [whole for _, whole, _ in read("买了“苹果”（很贵）。好 — 吗？")] == [
        "买", "了", "“苹", "果”", "（很", "贵）。", "好 —", "吗？"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "written", "sounds"),
    [
        ("In 2024, we", "2024", "T W EH N T IY T W EH N T IY F AO R"),
        ("costs $3.50.", "3.50", "TH R IY D AA L ER Z"),
        ("C++ is", "C", "S IY P L AH S P L AH S"),
        ("在2024年5月", "2024", "er4 l ing2 er4 s ix4"),
        ("买了100%的", "100", "b ai3 f en1 zh iy1 i4 b ai3"),
        ("他3.5元", "3.5", "s an1 d ian3 u3"),
    ],
)
def test_numbers_sound_as_they_are_said(text: str, written: str, sounds: str) -> None:
    (found,) = [sound for word, _, sound in read(text) if word == written]
    assert found.startswith(sounds)


def test_what_has_no_sound_is_a_word_too() -> None:
    assert [(word, sound) for word, _, sound in read("Привет hello")] == [
        ("Привет", ""), ("hello", "HH AH L OW")
    ]  # fmt: skip
    assert given_words("... — !") == given_words("") == []


def test_a_text_without_an_end_is_cut_between_words() -> None:
    text = "seven words and no end of it " * 500
    words = given_words(text)
    assert [text[word.start : word.end] for word in words] == text.split()
    assert all(word.phonemes for word in words)


def test_a_piece_stands_on_one_line() -> None:
    assert shown("one\n  two\n三\n四") == "one two三四"


@given(st.text("a b 好，。!(“ \n3$5.%км", max_size=60))
def test_words_cover_a_text_in_order(text: str) -> None:
    words = given_words(text)
    for word in words:
        assert word.shown_start <= word.start < word.end <= word.shown_end
    for before, after in pairwise(words):
        assert before.shown_end <= after.shown_start
    # Nothing but spaces is left out, where there is a word at all.
    covered = {place for word in words for place in range(word.shown_start, word.shown_end)}
    if words:
        assert all(place in covered or character.isspace() for place, character in enumerate(text))
