import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.text.normalization import normalize, tokens, written_tokens


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("O’Neil paid $3!", "o'neil paid three dollars"),
        ("你好，世界。", "你好世界"),
        ("我用 iPhone 打电话", "我用iphone打电话"),
        ("ＡＢＣ１２", "abc twelve"),
        ("'quoted' words'", "quoted words"),
        ("！？", ""),
        ("", ""),
        ("买3斤", "买三斤"),
    ],
)
def test_normalize(text: str, plain: str) -> None:
    assert normalize(text) == plain


@given(st.text(alphabet="aB '.,!你好，-\n", max_size=30))
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


def test_tokens_are_characters_and_words() -> None:
    assert tokens("我用iPhone 手机 now") == ["我", "用", "iphone", "手", "机", "now"]


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("Hi, 小王！", ["Hi", ",", "小", "王", "!"]),
        ("It’s 3.5 o'clock…", ["It's", "3.5", "o'clock", ".", ".", "."]),
        ("我用iPhone。", ["我", "用", "iPhone", "。"]),
        ("a-b", ["a", "-", "b"]),
        (" ", []),
    ],
)
def test_written_tokens_keep_case_digits_and_marks(text: str, counted: list[str]) -> None:
    assert written_tokens(text) == counted
