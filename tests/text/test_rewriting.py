"""Rules: the first that matches a place writes it; none is compiled before a text needs it."""

import re

import pytest

from nim4asr.text.rewriting import Rules


def test_the_first_rule_that_matches_a_place_writes_it() -> None:
    rules = Rules(
        [
            (r"(\d)(\d)", lambda found: f"<{found.group(2)}{found.group(1)}>"),
            (r"\d+", lambda found: None),
            (r"(B)", lambda found: found.group(1) * 2),
        ],
        re.IGNORECASE,
    )
    # A rule's groups are its own, though all of them are searched for at once.
    assert [rules(text) for text in ("12 b", "7 12", "", "a-B")] == ["<21> bb", "7 <21>", "", "a-BB"]


def test_rules_are_compiled_when_a_text_needs_them() -> None:
    # All of both languages take a third of a second, which no start should wait for.
    rules = Rules([("(", lambda found: None)])
    with pytest.raises(re.error):
        rules("text")
