"""JSON from anyone."""

import pytest

from nim4asr.serving.errors import ApiError
from nim4asr.serving.json_text import parsed, parsed_object, written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        b"\xff",
        b"\xed\xa0\x80",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": -1.5e400}',
        '{"a": ' + "1" * 5000 + "}",
        '{"a": "\\ud800"}',
        '{"a": "x\\uDFFFx"}',
        '{"\\udabc": 1}',
        '{"a": [["\\ud83d"]]}',
        "[" * 100_000,
        '{"a": ' * 100_000,
        "[" + "1," * 60_000 + "1]",
    ],
)
def test_what_is_no_object(text: str | bytes) -> None:
    with pytest.raises(ApiError) as raised:
        parsed_object(text)
    assert raised.value.status == 400 and raised.value.code == "invalid_json"


def test_what_is_json_stays_what_it_is() -> None:
    row = {"a": 10**400, "b": [1.5, -2, True, None], "c": "é 😀 \x00", "d": {"e": "\\ud800"}}
    assert parsed_object(written(row)) == row
    assert parsed('"\\ud83d\\ude00"') == "😀" and parsed(bytearray(b"3")) == 3


def test_what_cannot_be_read_is_not_written() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        written({"a": float("nan")})
