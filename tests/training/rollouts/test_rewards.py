import math

import pytest

from nim4asr.training.rollouts.rewards import Reward, accuracy, context, hallucination, reward


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("今天天气", "今天天气", 1.0),
        ("今天天气", "今天天", math.exp(-0.5)),
        ("今天天气", "", math.exp(-2)),
        ("ab", "xyzw", math.exp(-4)),
        ("", "", 1.0),
        ("", "啊", 0.0),
    ],
)
def test_accuracy(reference: str, hypothesis: str, expected: float) -> None:
    assert accuracy(list(reference), list(hypothesis)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        (4, 4, 0.0),
        (4, 8, 0.0),
        (4, 9, -1.0),
        (4, 2, 0.0),
        (4, 1, -1.0),
        (0, 0, 0.0),
        (0, 1, -1.0),
        (5, 2, -1.0),
    ],
)
def test_hallucination(reference: int, hypothesis: int, expected: float) -> None:
    assert hallucination(["a"] * reference, ["b"] * hypothesis) == expected


@pytest.mark.parametrize(
    ("hypothesis", "hints", "important", "expected"),
    [
        ("我在北京", ["北京"], [], 0.5),
        ("我在背景", ["北京"], [], -0.5),
        # Neither said nor written: nothing to judge.
        ("我在北京", ["北京", "上海"], [], 0.5),
        # Written and not said costs as much as a miss.
        ("我在背景", ["背景"], [], -0.5),
        ("我在北京上海", ["北京", "上海"], [], 0.0),
        ("我在北京", [], [], 0.0),
        # Important ones are scored though nobody hinted at them.
        ("我在北京", [], ["北京"], 0.5),
        ("我在背景", [], ["北京", "上海"], -0.5),
        ("我在上海", [], ["上海"], 0.0),
        ("我在北京", ["北京"], ["北京"], 0.5),
        ("我在北京", ["，"], [], 0.0),
    ],
)
def test_context(hypothesis: str, hints: list[str], important: list[str], expected: float) -> None:
    assert context("我在北京。", hypothesis, hints, important) == expected


def test_english_keywords_are_whole_words() -> None:
    assert context("the art of war", "the art of war", ["art"]) == 0.5
    assert context("the party", "the party", ["art"]) == 0.0
    assert context("New York", "new york.", ["New York"]) == 0.5


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        # What is not said earns nothing, whatever words its letters stand in.
        ("we were planning", "we were planning", 0.0),
        ("Ann was here", "planning was here", -0.5),
        ("we were planning", "we were Ann", -0.5),
        ("我和Ann说", "我和ann说", 0.5),
        ("我在planning", "我在planning", 0.0),
        ("Ann's plan", "ann's plan", 0.5),
    ],
)
def test_a_name_inside_a_word_earns_nothing(reference: str, hypothesis: str, expected: float) -> None:
    assert context(reference, hypothesis, ["Ann"]) == expected


def test_the_parts_are_weighted() -> None:
    assert Reward(0.8, -1.0, 0.5).total == pytest.approx(0.8 - 0.5 + 0.25)
    assert reward("我在北京。", "我在北京", ["北京"]).total == pytest.approx(1.25)
    assert reward("", "").total == 1.0
