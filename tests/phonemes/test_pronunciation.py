import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nim4asr.phonemes import TABLE, pronounce, pronunciations, settled, tokenize
from nim4asr.text.spoken import holds_number, spoken_form


def test_mixed_text() -> None:
    assert " ".join(pronounce("我用iPhone")) == "uo3 iong4 AY F OW N"


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


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Zürich", "Zurich"),
        ("São Paulo", "Sao Paulo"),
        ("Beyoncé", "Beyonce"),
        ("Straße", "Strasse"),
        ("Ærø", "Aero"),
        ("Łódź", "Lodz"),
        ("Đurić", "Duric"),
        ("ｈｅｌｌｏ", "hello"),
    ],
)
def test_latin_names_are_said_without_their_accents(text: str, plain: str) -> None:
    assert pronunciations(text) == pronunciations(plain) and pronounce(text) == pronounce(plain)
    # Each word is one token, in its own spelling.
    assert " ".join(token.text for token in tokenize(text)) == text


@settings(deadline=None)
@example("100一")
@given(st.text(max_size=60) | st.text("0123456789$€%.,:/+#-é 中월", max_size=30))
def test_every_string_is_pronounced_or_reported(text: str) -> None:
    tokens = tokenize(spoken_form(text))
    try:
        said = pronounce(text)
    except ValueError:
        assert not all(token.phonemes for token in tokens)
    else:
        assert all(token.phonemes for token in tokens)
        assert pronunciations(text)[:1] == ([said] if said else [])
        # What is heard of it holds every letter and digit.
        assert said or not any(c.isalnum() for c in text)


@pytest.mark.parametrize("part", ["7", "1 ", "a", "中", "中1"])
def test_time_is_in_proportion_to_the_length(part: str) -> None:
    # 20,000 characters took minutes to hours where it grew with the square or the cube.
    assert tokenize(spoken_form(part * (20_000 // len(part))))


@pytest.mark.parametrize("text", ["", "！？", "  "])
def test_nothing_to_say(text: str) -> None:
    assert pronounce(text) == []
    assert pronunciations(text) == []


@settings(deadline=None)
@given(
    # The last two have no known reading.
    st.text("北京大学银行长中国重庆人民不一乐 ab'c\U0002a6d0\U00030a6f", max_size=40),
    st.text("北京大学银行长中国重庆人民不一乐 ab'c\U0002a6d0\U00030a6f", max_size=12),
)
def test_what_is_settled_is_read_the_same_whatever_follows(text: str, more: str) -> None:
    size = settled(text)
    assert 0 <= size <= len(text)
    apart = [*tokenize(text[:size]), *tokenize(text[size:] + more)]
    assert [(t.text, t.phonemes) for t in apart] == [(t.text, t.phonemes) for t in tokenize(text + more)]


@settings(deadline=None)
@given(st.lists(st.text("银行长重庆不乐\U0002a6d0 aé,", min_size=1, max_size=6), max_size=8))
def test_a_text_that_comes_in_pieces_has_the_tokens_of_the_whole(pieces: list[str]) -> None:
    found, rest = [], ""
    for piece in pieces:
        rest += piece
        size = settled(rest)
        found += tokenize(rest[:size])
        rest = rest[size:]
    found += tokenize(rest)
    assert [(t.text, t.phonemes) for t in found] == [(t.text, t.phonemes) for t in tokenize("".join(pieces))]


def test_a_character_without_a_reading_silences_itself_alone() -> None:
    tokens = tokenize("银行\U0002a6d0重庆")
    assert [t.phonemes for t in tokens] == [
        ("in2",), ("h", "ang2"), (), ("ch", "ong2"), ("q", "ing4"),
    ]  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["Elm", "Dr", "St", ".", " ", "Mr", "War", "II", "&", "at", "x"]), max_size=6),
    st.lists(st.sampled_from(["Dr", ".", " ", "War", "II", "I", "V", "&", "Smith", "r"]), max_size=4),
)
def test_what_is_settled_is_said_the_same_whatever_follows(before: list[str], after: list[str]) -> None:
    text, more = "".join(before), "".join(after)
    size = settled(text)
    if not holds_number(text[size:] + more):
        apart = [*tokenize(text[:size]), *tokenize(spoken_form(text[size:] + more))]
        whole = tokenize(spoken_form(text + more))
        assert [(t.text, t.phonemes) for t in apart] == [(t.text, t.phonemes) for t in whole]


def test_little_is_left_unsettled() -> None:
    assert settled("how are you tod") == len("how are you ") and settled("他说how") == 2
    assert len("北" * 100) - settled("北" * 100) < 30
    assert settled("3 个") == settled("½个") == settled("") == 0
