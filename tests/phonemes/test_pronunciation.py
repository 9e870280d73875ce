import pytest

from nim4asr.phonemes import TABLE, pronounce, pronunciations, spoken_form, tokenize


def test_mixed_text() -> None:
    assert " ".join(pronounce("我用iPhone")) == "uo3 iong4 AY F OW N"


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


def test_tokens_know_their_place() -> None:
    text = "他说 hello，世界!"
    tokens = tokenize(text)
    assert [t.text for t in tokens] == ["他", "说", "hello", "世", "界"]
    assert all(text[t.start : t.end] == t.text for t in tokens)


def test_another_script_has_no_sound() -> None:
    with pytest.raises(ValueError, match="オ"):
        pronounce("オカ")
    assert [t.phonemes for t in tokenize("Щ")] == [()]


def test_several_pronunciations() -> None:
    nio = [" ".join(p) for p in pronunciations("NIO汽车")]
    assert len(nio) == 2
    assert all(one.endswith("q i4 ch e1") for one in nio)
    assert len(pronunciations("行", limit=3)) <= 3
    assert pronunciations("either")[0] == pronounce("either")


def test_the_first_pronunciation_is_the_likeliest() -> None:
    for text in ("银行", "hello world", "我在NIO工作", "3个人"):
        assert pronunciations(text)[0] == pronounce(text)
        TABLE.encode(pronounce(text))


@pytest.mark.parametrize("text", ["", "！？", "  "])
def test_nothing_to_say(text: str) -> None:
    assert pronounce(text) == []
    assert pronunciations(text) == []
