"""Where a name stands in a text, and where it only seems to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.text.occurrences import (
    Names,
    longest_first,
    occurrences,
    occurrences_in_words,
    stands_in,
)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        # Inside another word it does not stand.
        ("Ann", "we were planning for Anna", []),
        ("Lee", "he fell asleep", []),
        ("Rob", "problem, Robert", []),
        ("Ann", "O'Ann and don-Ann", ["Ann"]),
        ("Don", "I don't know", []),
        ("Art", "state-of-the-art", ["art"]),
        # Case, accents, width and what hangs on a word do not count.
        ("Ann", "ANN, Ann's and ann.", ["ANN", "Ann", "ann"]),
        ("Zürich", "from ZURICH to zu\u0308rich", ["ZURICH", "zu\u0308rich"]),
        ("ＮＩＯ", "a nio", ["nio"]),
        ("O'Neil", "O’Neil's house", ["O’Neil"]),
        ("New York", "New  York, new-york, newyork", ["New  York", "new-york"]),
        # Chinese has no spaces; Latin words in it are whole words all the same.
        ("北京", "我在北京大学", ["北京"]),
        ("Ann", "我和Ann说了planning的事", ["Ann"]),
        ("AC米兰", "AC 米兰对ac米兰", ["AC 米兰", "ac米兰"]),
        ("port", "我在airport等port", ["port"]),
        ("アン", "アンナとアン", ["アン", "アン"]),
        ("서울", "서울에서", ["서울"]),
        ("Москва", "Москвасити и Москва", ["Москва"]),
        # A mark parts a sentence, but not a name that has it.
        ("海南", "从上海，南京到海南", ["海南"]),
        ("Lee Ann", "with Lee. Ann said (Lee) Ann, Lee Ann", ["Lee Ann"]),
        ("你好，李焕英", "看你好李焕英和你好，李焕英", ["你好李焕英", "你好，李焕英"]),
        ("St Louis", "in St. Louis", ["St. Louis"]),
        ("约翰·史密斯", "约翰史密斯、约翰·史密斯", ["约翰史密斯", "约翰·史密斯"]),
        ("Jean-Luc", "jean luc, Jean–Luc", ["jean luc", "Jean–Luc"]),
        # Names with digits and signs, as they are written and as they are said.
        ("5G", "5G手机和五g网络, five g, 15G, 十五G", ["5G", "五g", "five g"]),
        ("5G", "the five g network, 15G and 25G", ["five g"]),
        ("iPhone 15", "iPhone15, iphone fifteen and iPhone 150", ["iPhone15", "iphone fifteen"]),
        ("iPhone", "iPhone15", []),
        ("C919", "c九一九首飞", ["c九一九"]),
        ("C919", "see c nine nineteen", ["c nine nineteen"]),
        ("C", "C++, C# and C919 but vitamin C", ["C"]),
        ("C++", "C++ or c plus plus, not C+", ["C++", "c plus plus"]),
        ("AT&T", "AT&T and at and t", ["AT&T", "at and t"]),
        ("AT", "AT&T", []),
        (".NET", "a net, dot net and .NET", ["dot net", ".NET"]),
        ("NET", ".NET", []),
        ("MP", "an MP3 player", []),
        ("1,234", "1234 or 1,234", ["1234", "1,234"]),
        ("二零二四", "2024年", ["2024"]),
        ("fifteen", "in 15 days", ["15"]),
        ("", "text", []),
        ("。", "句。", []),
        ("name", "", []),
    ],
)
def test_where_a_name_stands(name: str, text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in occurrences(name, text)] == found
    assert stands_in(name, text) == bool(found)


def test_among_words() -> None:
    words = ["planning", "with", "new", "york's", "中", "国", "人"]
    assert occurrences_in_words("New York", words) == [(2, 4)]
    assert occurrences_in_words("Ann", words) == [] and occurrences_in_words("中国", words) == [(4, 6)]


def test_many_names_at_once() -> None:
    names = Names(["北京", "北京大学", "大学", "Zürich", "ZURICH", "york", "new york", "北京"])
    text = "北京大学 near Zurich, New York"
    found = [(name, text[start:end]) for name, start, end in names.find(text)]
    assert sorted(found) == [
        ("ZURICH", "Zurich"),
        ("Zürich", "Zurich"),
        ("new york", "New York"),
        ("york", "York"),
        ("北京", "北京"),
        ("北京大学", "北京大学"),
        ("大学", "大学"),
    ]
    assert [name for name, *_ in longest_first(names.find("北京大学new york"))] == ["北京大学", "new york"]
    assert Names().find(text) == []


@settings(deadline=None)
@given(st.text("ab' é中国C+#&.5１①½3,-", max_size=12), st.text("ab' é中国C+#&.5１①½3,-", max_size=20))
def test_places_are_in_the_text_and_hold_the_name(name: str, text: str) -> None:
    for start, end in occurrences(name, text):
        assert 0 <= start < end <= len(text)
    padded = f"{text} {name} {text}"
    if any(c.isalnum() for c in name):
        assert stands_in(name, padded)
