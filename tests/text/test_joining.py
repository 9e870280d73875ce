import pytest

from nim4asr.text.joining import addition, joined


@pytest.mark.parametrize(
    ("before", "text", "added"),
    [
        ("we met at the café", "it was late", " it was late"),
        ("he said “hi”", "then left", " then left"),
        ("wait…", "what", " what"),
        ("Москва", "Париж", " Париж"),
        ("naïve", "Élan", " Élan"),
        ("a", "b", " b"),
        ("one.", "Two", " Two"),
        ("3", "4", " 4"),
        ("안녕", "하세요", " 하세요"),
        ("你好", "世界", "世界"),
        ("我", "b", "b"),
        ("a", "我", "我"),
        ("你好。", "Hello", "Hello"),
        ("OK", "《红楼梦》", "《红楼梦》"),
        ("他说“好”", "OK", "OK"),
        ("OK", "“好”", "“好”"),
        ("カフェ", "です", "です"),
        ("ok", "カフェ", "カフェ"),
        ("人々", "a", "a"),
        ("ＯＫ", "fine", " fine"),
        ("", "a", "a"),
        ("a", "", ""),
        ("a ", "b", "b"),
        ("a", " b", " b"),
        ("…", "a", " a"),
    ],
)
def test_a_space_unless_one_side_is_chinese_or_japanese(before: str, text: str, added: str) -> None:
    assert addition(before, text) == added
    assert joined((before, "", text)) == before + added
