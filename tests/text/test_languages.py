import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.text.languages import foreign_to, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", ""),
        ("12:30 ...", ""),
        ("привет", ""),
        ("what do you want", "en"),
        ("naïve café", "en"),
        ("今天天气很好", "zh"),
        ("我在5楼", "zh"),
        ("我喜欢 machine learning", "mixed"),
        ("你好world", "mixed"),
        # One word of the other does not make a long text mixed.
        ("昨天下午我们在公司楼下开了一个很长的会 OK", "zh"),
        ("the sign on the door of that very old house by the river said 福", "en"),
    ],
)
def test_the_language_of_a_text(text: str, language: str) -> None:
    assert language_of(text) == language


def test_letters_of_another_language() -> None:
    assert foreign_to("en", "好") and foreign_to("en", "да") and foreign_to("en", "a 好")
    assert not foreign_to("en", "café, 30 % — Łódź!")
    assert foreign_to("zh", "a") and foreign_to("zh", "好a") and foreign_to("zh", "カ")
    assert not foreign_to("zh", "好,30 % 〇")


@given(st.text())
def test_a_text_of_one_language_holds_nothing_foreign_to_it(text: str) -> None:
    for language in ("zh", "en"):
        if not foreign_to(language, text):
            assert language_of(text) in ("", language)
