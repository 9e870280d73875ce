"""Roman numerals."""

import re

import pytest

from nim4asr.text.roman import ROMAN, roman_number

ONES = ["", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]


@pytest.mark.parametrize("number", range(1, 40))
def test_every_number_up_to_thirty_nine(number: int) -> None:
    numeral = "X" * (number // 10) + ONES[number % 10]
    assert re.fullmatch(ROMAN, numeral) and roman_number(numeral) == number


@pytest.mark.parametrize("word", ["", "MIX", "IIII", "VX", "XXL", "XXXX", "IXI"])
def test_what_is_no_numeral(word: str) -> None:
    assert not re.fullmatch(ROMAN, word)
