"""Where a line may end, and where it ends well."""

import pytest

from nim4asr.text.breaking import line_width, pieces, reading_s, width


def broken(text: str, characters: int = 42, names: tuple[str, ...] = ()) -> list[str]:
    whole = [(text.index(name), text.index(name) + len(name)) for name in names]
    return [text[piece.start : piece.end] for piece in pieces(text, line_width(characters), whole)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop, please", ["don't", "stop,", "please"]),
        ("don’t “go” there", ["don’t", "“go”", "there"]),
        ("so one hundred and twenty five people", ["so", "one hundred and twenty five", "people"]),
        (
            "costs 3.5 million or 1,200 or 40 percent",
            ["costs", "3.5 million", "or", "1,200", "or", "40 percent"],
        ),
        ("call 138 1234 5678 now", ["call", "138 1234 5678", "now"]),
        ("北京大学参加会议", ["北京大学", "参加", "会议"]),
        ("他们付了三百二十五块", ["他们", "付", "了", "三百二十五块"]),
        ("走了3.5公里，第3天", ["走", "了", "3.5公里，", "第3天"]),
        ("老师说（好）！真的？", ["老师", "说", "（好）！", "真的？"]),
        ("用iPhone拍照", ["用", "iPhone", "拍照"]),
        ("", []),
        ("...", ["..."]),
    ],
)
def test_words_and_numbers_stay_whole(text: str, expected: list[str]) -> None:
    assert broken(text) == expected


def test_names_stay_whole_unless_they_are_wider_than_a_line() -> None:
    assert broken("ask Anna Maria Lopez now", names=("Anna Maria Lopez",)) == [
        "ask",
        "Anna Maria Lopez",
        "now",
    ]
    assert broken("ask Anna Maria Lopez", 10, ("Anna Maria Lopez",)) == ["ask", "Anna", "Maria", "Lopez"]
    assert "蔚小理汽车" in broken("我在蔚小理汽车上班", names=("蔚小理汽车",))
    # Two names side by side are two.
    assert broken("Ann Lee Bob Ray", names=("Ann Lee", "Bob Ray")) == ["Ann Lee", "Bob Ray"]


@pytest.mark.parametrize(
    ("text", "better", "worse"),
    [
        ("we came. they went", "came.", "we"),
        ("we came, they went home", "came,", "they"),
        ("he works here because it pays", "here", "because"),
        ("she looked at the house", "looked", "the"),
        ("ask Mr. Smith. He knows", "Smith.", "Mr."),
        ("我想去公园但是下雨了", "公园", "但是"),
        ("今天的天气很好", "天气", "今天"),
    ],
)
def test_breaks_at_clauses_cost_less(text: str, better: str, worse: str) -> None:
    cost = {text[piece.start : piece.end]: piece.cost for piece in pieces(text, 1000)}
    assert cost[better] < cost[worse]


def test_widths_and_reading_times() -> None:
    assert width("a" * 42) == width("好" * 18) == line_width(42) == width("，" * 18)
    assert width("e\u0301") == width("e")
    assert reading_s("a" * 17) == pytest.approx(1.0) == reading_s("好" * 9)
