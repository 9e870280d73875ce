import pytest
from pypinyin.constants import PINYIN_DICT

from nim4asr.phonemes import TABLE
from nim4asr.phonemes.mandarin import character_readings, read, read_all, read_name, syllable


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


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("单雄信", "shan4"), ("仇英", "qiu2"), ("区大相", "ou1"), ("查良镛", "zha1"), ("解晓东", "xie4"),
        ("任贤齐", "ren2"), ("曾国藩", "zeng1"), ("朴槿惠", "piao2"), ("盖叫天", "ge3"), ("缪昌期", "miao4"),
        ("翟天临", "zhai2"), ("葛优", "ge3"), ("牟其中", "mu4"), ("纪晓岚", "ji3"), ("肖邦", "xiao1"),
        ("覃辉", "qin2"), ("隗嚣", "wei3"), ("佴爱", "nai4"), ("卜算", "bu3"), ("薄一波", "bo2"),
        ("员半千", "yun4"), ("召平", "shao4"), ("折德扆", "she2"), ("种师道", "chong2"), ("句践", "gou1"),
        ("繁钦", "po2"), ("阚泽", "kan4"), ("尉迟恭", "yu4 chi2"), ("万俟卨", "mo4 qi2"),
        ("单于冒", "chan2 yu2"), ("澹台明", "tan2 tai2"), ("令狐冲", "ling2 hu2"), ("长孙皇", "zhang3 sun1"),
        ("耶律齐", "ye1 lv4"), ("乐正克", "yue4 zheng4"), ("皇甫嵩", "huang2 fu3"),
    ],
)  # fmt: skip
def test_a_name_begins_with_a_surname(name: str, first: str) -> None:
    surname = [syllable(pinyin) for pinyin in first.split()]
    readings = read_name(name, 4)
    assert readings[0][: len(surname)] == surname and len(readings) <= 4
    # A word of running text is read as the dictionary has it.
    assert read("单位") == read_name("单位", 4)[0] and read_name("任务", 4) == [read("任务")]


def test_a_rare_surname_comes_behind_the_common_reading() -> None:
    for name, surname in (("华罗庚", "hua4"), ("乐嘉", "yue4"), ("那英", "na1")):
        first, second, *_ = read_name(name, 4)
        assert first[:1] == read(name)[:1] and second[0] == syllable(surname)
    # Longer than a person's name.
    assert read_name("任天堂游戏机", 1) == [read("任天堂游戏机")]


def test_a_character_without_reading() -> None:
    with pytest.raises(ValueError, match="no known Mandarin reading"):
        read("\U0002a6d0")
