import pytest
from pypinyin.constants import PINYIN_DICT

from nim4asr.phonemes import TABLE
from nim4asr.phonemes.mandarin import character_readings, read, read_all, syllable


@pytest.mark.parametrize(
    ("pinyin", "phonemes"),
    [
        ("zhong1", ("zh", "ong1")),
        ("yi1", ("i1",)),
        ("yue4", ("ve4",)),
        ("xue2", ("x", "ve2")),
        ("lv4", ("l", "v4")),
        ("lü4", ("l", "v4")),
        ("liu2", ("l", "iou2")),
        ("gui4", ("g", "uei4")),
        ("jun1", ("j", "vn1")),
        ("zi5", ("z", "ix5")),
        ("shi4", ("sh", "iy4")),
        ("er2", ("er2",)),
        ("weng1", ("ueng1",)),
        ("de", ("d", "e5")),
    ],
)
def test_syllables(pinyin: str, phonemes: tuple[str, ...]) -> None:
    assert syllable(pinyin) == phonemes


@pytest.mark.parametrize("pinyin", ["", "xyz1", "hello", "ba7"])
def test_what_is_no_syllable(pinyin: str) -> None:
    with pytest.raises(ValueError, match="not a pinyin syllable"):
        syllable(pinyin)


def test_every_dictionary_reading_is_in_the_table() -> None:
    for code in list(PINYIN_DICT)[::7]:
        for reading in character_readings(chr(code)):
            TABLE.encode(reading)


def test_phrases_settle_polyphones() -> None:
    assert read("银行")[1] == ("h", "ang2")
    assert read("行走")[0] == ("x", "ing2")
    assert read("重庆")[0] == ("ch", "ong2")
    assert read("重要")[0] == ("zh", "ong4")


def test_single_characters_vary_and_phrases_do_not() -> None:
    assert len(read_all("行", 5)) > 1
    assert read_all("银行", 5) == [read("银行")]
    assert len(read_all("行行行", 3)) == 3


def test_a_character_without_reading() -> None:
    with pytest.raises(ValueError, match="no known Mandarin reading"):
        read("\U0002a6d0")
