from itertools import pairwise

import pytest

from nim4asr.phonemes import BLANK, TABLE, PhonemeTable


def test_the_table() -> None:
    assert TABLE.symbols[BLANK] == "<blank>"
    assert len(TABLE) == 1 + 21 + 39 * 5 + 39
    assert TABLE.decode(TABLE.encode(["zh", "ong1", "AA"])) == ["zh", "ong1", "AA"]


def test_toneless_projection_merges_tones_and_nothing_else() -> None:
    toneless = TABLE.toneless
    assert len({toneless[i] for i in TABLE.encode(["a1", "a2", "a3", "a4", "a5"])}) == 1
    assert len(set(toneless)) == 1 + 21 + 39 + 39
    assert max(toneless) + 1 == len(set(toneless)) and toneless[0] == 0
    assert all(0 <= b - a <= 1 for a, b in pairwise(toneless))


def test_symbols_are_unique() -> None:
    with pytest.raises(ValueError, match="twice"):
        PhonemeTable(["a", "a"])
