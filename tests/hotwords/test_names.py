import gzip
import json
from pathlib import Path

import pytest

from nim4asr.errors import InputError
from nim4asr.hotwords.names import Name, Problem, parse_pronunciation, read_names, say


def names(path: Path) -> list[Name]:
    return [one for _, one in read_names(path) if isinstance(one, Name)]


def problems(path: Path) -> list[str]:
    return [str(one) for _, one in read_names(path) if isinstance(one, Problem)]


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"text": "重庆", "pronunciation": "chong2 qing4", "weight": 2, "category": "city"},
        {"text": "NIO"},
    ]
    expected = [Name("重庆", (("ch", "ong2", "q", "ing4"),), 2.0, "city"), Name("NIO")]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    (tmp_path / "a.csv").write_text(
        "category,text,weight,pronunciation\ncity,重庆,2,chong2 qing4\n,NIO,,\n", encoding="utf-8"
    )
    assert names(tmp_path / "a.jsonl") == names(tmp_path / "a.csv") == expected
    with gzip.open(tmp_path / "a.txt.gz", "wt", encoding="utf-8") as file:
        file.write(" 重庆 \nNIO\n")
    assert [name.text for name in names(tmp_path / "a.txt.gz")] == ["重庆", "NIO"]


def test_bad_lines_are_told_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("北京\n\n!!!\n" + "长" * 200_000 + "\n上海\n", encoding="utf-8")
    assert [name.text for name in names(path)] == ["北京", "上海"]
    said = problems(path)
    assert [one.partition(": ")[0] for one in said] == [f"{path}, line {n}" for n in (2, 3, 4)]
    assert "empty" in said[0] and "no letter" in said[1] and "200000 characters" in said[2]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("[1]", "no name"),
        ("{", "no name"),
        ('{"text": 3}', "no name"),
        ('{"text": "a", "weight": "heavy"}', "no number"),
        ('{"text": "a", "weight": -1}', "must be positive"),
        ('{"text": "a", "pronunciation": "xyz9"}', "pinyin"),
        ('{"text": "a", "pronunciation": [""]}', "empty pronunciation"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(row + "\n", encoding="utf-8")
    (problem,) = problems(path)
    assert said in problem and "line 1" in problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such list"):
        names(tmp_path / "no.txt")
    (tmp_path / "a.csv").write_text("name\nx\n")
    with pytest.raises(InputError, match="column 'text'"):
        names(tmp_path / "a.csv")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        names(tmp_path / "b.txt")


def test_a_name_has_all_its_pronunciations() -> None:
    assert {("N", "IY", "OW"), ("EH", "N", "AY", "OW")} <= set(say(Name("NIO")))
    assert say(Name("乐", (("y", "ve4"),))) == [("y", "ve4")]
    assert len(say(Name("单"))) > 1
    with pytest.raises(ValueError, match="no pronunciation"):
        say(Name("नमस्ते"))


def test_pronunciations_as_symbols_or_pinyin() -> None:
    assert parse_pronunciation("n i3 hao3") == ("n", "i3", "h", "ao3")
    assert parse_pronunciation("N IY OW") == ("N", "IY", "OW")
