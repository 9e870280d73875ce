"""What is written for what was said."""

import pytest

from nim4asr.text.tokens import aligned, tokens_of


def pairs(written: str, said: str) -> list[tuple[str, str]]:
    ours, theirs = ([token.text for token in tokens_of(text)] for text in (written, said))
    return [
        (" ".join(ours[own.start : own.stop]), " ".join(theirs[heard.start : heard.stop]))
        for own, heard in aligned(ours, theirs)
    ]


@pytest.mark.parametrize(
    ("written", "said", "expected"),
    [
        ("Hello, World", "hello world", [("Hello", "hello"), ("World", "world")]),
        ("我有120块", "我有一百二十块", [("我", "我"), ("有", "有"), ("120", "一 百 二 十"), ("块", "块")]),
        ("$25 now", "twenty five dollars now", [("25", "twenty five dollars"), ("now", "now")]),
        ("a b", "a", [("a", "a"), ("b", "")]),
        ("b", "a b", [("", "a"), ("b", "b")]),
        ("", "", []),
    ],
)
def test_what_differs_pairs_as_a_whole(written: str, said: str, expected: list[tuple[str, str]]) -> None:
    assert pairs(written, said) == expected


def test_tokens_know_where_they_begin() -> None:
    text = "it's 3.5 公里, OK"
    assert [(token.text, token.start) for token in tokens_of(text)] == [
        ("it's", 0), ("3.5", 5), ("公", 9), ("里", 10), ("OK", 13),
    ]  # fmt: skip


def test_texts_too_long_to_compare_pair_as_wholes() -> None:
    assert list(aligned(["a"] * 6000, ["b"] * 6000)) == [(range(6000), range(6000))]
