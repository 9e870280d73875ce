"""How digits, amounts, dates and the signs in names are said, and how what is said is written.

The lists beside this file hold a text, what it is, and, where that is another, what the grammars of
WeTextProcessing make of it alone (wetext 0.1.8): why the rules of ``nim4asr.text`` come before them.
"""

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.phonemes import tokenize
from nim4asr.text.spoken import holds_number, spoken_form, spoken_forms, written_form


def cases(name: str) -> list[tuple[str, str]]:
    lines = Path(__file__).with_name(f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    found = [(text, right) for text, right, *_ in (line.split("\t") for line in lines)]
    assert len(found) >= 200
    return found


@pytest.mark.parametrize(("text", "spoken"), [*cases("spoken_en"), *cases("spoken_zh")])
def test_what_is_written_is_said(text: str, spoken: str) -> None:
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(("said", "written"), [*cases("written_zh"), *cases("written_en")])
def test_what_is_said_is_written(said: str, written: str) -> None:
    assert written_form(said) == written


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("3.5元", "三点五元"),
        ("2024年", "二零二四年"),
        ("nothing to do", "nothing to do"),
        ("District #1", "District number one"),
        ("Route  66", "Route  sixty six"),
        ("50+", "fifty plus"),
        ("5€", "five euros"),
        ("1é", "one é"),
        ("10월", "ten 월"),
        ("Кросс-Лейк 19А", "Кросс-Лейк nineteen А"),
        ("٣ ① Ⅷ", "three one VIII"),
        ("３．５％", "three point five percent"),
        ("a\ud800", "a\ufffd"),
        # What stands around a number stays.
        ("√@3", "square root of at three"),
        ('Jr. Smith said "5"', 'Jr. Smith said "five"'),
        ('Mr. Smith said "5"', 'Mister Smith said "five"'),
        ("the St. has 2", "the St. has two"),
        ("第2个人和2个人", "第二个人和两个人"),
        ("电话是010-87654321转8001", "电话是零幺零八七六五四三二幺转八零零幺"),
        ("拨 13900001111", "拨 幺三九零零零零幺幺幺幺"),
    ],
)
def test_numbers_among_others(text: str, spoken: str) -> None:
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(
    "text", ["1,234.5 ", "我有2个13912345678", "C++", "1-2-", "$3.50", "9" * 7, "√", "a@b.", "#a1", "1'000"]
)
def test_long_texts_are_said_in_time(text: str) -> None:
    spoken = spoken_form(text * (20_000 // len(text)))
    assert not any(c in "0123456789" for c in spoken)


@settings(deadline=None)
@given(st.text("019,.:/-$%年月日个两#&+ aC中②½", max_size=16))
def test_no_digit_is_left_unsaid(text: str) -> None:
    for language in ("en", "zh"):
        spoken = spoken_form(text, language)  # type: ignore[arg-type]
        assert not any(c.isdecimal() for c in spoken)
        assert spoken_form(spoken, language) == spoken or holds_number(spoken)  # type: ignore[arg-type]


# Of what numbers, names, amounts, dates and addresses are made of.
_PIECES = st.sampled_from(
    [
        *"0 1 2 3 5 9 12 19 20 100 1999 2024 . , : / - + # @ & $ € % ° ′ ' \" ^ ² ³ ½ ~ < > = ×".split(),
        *"( ) ≥ √ 😀 _ ?".split(),
        *"x X I V II Mr Dr. St. Main Henry War No. www. .com a b the of pm am May kg m e".split(),
        *"年 月 日 第 个 元 万 号 点 折 世 二 十 ℃".split(),
        " ",
    ]
)


@settings(deadline=None)
@given(st.lists(_PIECES, max_size=10).map("".join), st.sampled_from(["en", "zh"]))
def test_what_is_said_can_be_said(text: str, language: Literal["en", "zh"]) -> None:
    spoken = spoken_form(text, language)
    tokens = tokenize(spoken)
    assert not any(c.isdecimal() for c in spoken)
    assert all(token.phonemes for token in tokens)
    assert tokens or not any(c.isalnum() for c in text)
    assert "  " not in spoken or "  " in text
    assert spoken_form(spoken, language) == spoken


@settings(deadline=None)
@given(st.text("零一二两三十百千万亿点分之年月日第个 onetwy fivhudra percent", max_size=24))
def test_nothing_is_lost_in_digits(text: str) -> None:
    written = written_form(text)
    assert written == text or any(c.isdigit() for c in written)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("5G", {"five G", "五G"}),
        ("3M", {"three M", "三M"}),
        ("iPhone 15 Pro", {"iPhone fifteen Pro", "iPhone 十五 Pro", "iPhone 一五 Pro"}),
        ("C919", {"C nine nineteen", "C九一九", "C九幺九", "C nine one nine"}),
        ("360", {"three sixty", "三六零", "三百六十"}),
        ("4S店", {"四S店"}),
        ("58同城", {"五八同城", "五十八同城"}),
        ("C++", {"C plus plus", "C加加"}),
        ("C#", {"C sharp"}),
        ("AT&T", {"AT and T"}),
        ("R&B", {"R and B"}),
        (".NET", {"dot NET", "点NET"}),
        ("PM2.5", {"PM two point five", "PM二点五"}),
        ("St. Petersburg", {"Saint Petersburg"}),
        ("Henry VIII", {"Henry the eighth"}),
        ("最终幻想VII", {"最终幻想七"}),
        ("X光", set()),
        ("Malcolm X", set()),
        ("B站", set()),
        ("AA制", set()),
        ("北京", set()),
        ("Ann", set()),
    ],
)
def test_a_name_is_said_in_the_ways_of_both_languages(name: str, said: set[str]) -> None:
    forms = spoken_forms(name)
    assert said <= set(forms) and len(forms) == len(set(forms)) and bool(forms) == bool(said)
