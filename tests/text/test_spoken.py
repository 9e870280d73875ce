"""How digits, amounts and dates are said."""

import pytest

from nim4asr.text.spoken import spoken_form, written_form


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("3.5元", "三点五元"),
        ("2024年", "二零二四年"),
        ("$3", "three dollars"),
        ("nothing to do", "nothing to do"),
    ],
)
def test_digits_are_read_out(text: str, spoken: str) -> None:
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("District #1", "District #one"),
        ("Route  66", "Route  sixty six"),
        ("50+", "fifty+"),
        ("5€", "five euros"),
        ("1é", "one é"),
        ("10월", "ten 월"),
        ("Кросс-Лейк 19А", "Кросс-Лейк nineteen А"),
        ("٣ ① Ⅷ", "three one VIII"),
        ("a\ud800", "a\ufffd"),
    ],
)
def test_what_the_english_grammar_cannot_parse_is_read_number_by_number(text: str, spoken: str) -> None:
    assert spoken_form(text) == spoken


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("我有一百二十块钱", "我有120块钱"),
        ("i have twenty five dollars", "i have $25"),
        ("what do you want", "what do you want"),
        ("一会儿", "一会儿"),
        ("", ""),
    ],
)
def test_numbers_are_written_in_digits(said: str, written: str) -> None:
    assert written_form(said) == written
