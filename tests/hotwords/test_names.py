import gzip
import json
from pathlib import Path

import pytest

from nim4asr.errors import InputError
from nim4asr.hotwords.names import Name, Problem, names_in, parse_pronunciation, read_names, say


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
    (tmp_path / "b.txt").write_bytes(b"\x81\xff\x00\xfe\x9c")
    with pytest.raises(InputError, match="cannot be read"):
        names(tmp_path / "b.txt")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gbk", "gb18030"]
)
@pytest.mark.parametrize("kind", [".txt", ".csv", ".jsonl", ".txt.gz"])
def test_lists_in_other_encodings(tmp_path: Path, encoding: str, kind: str) -> None:
    rows = {
        ".txt": "北京大学\r\n阿里巴巴 40\r\nNIO\r\n",
        ".csv": "text,weight\r\n北京大学,\r\n阿里巴巴,2\r\nNIO,\r\n",
        ".jsonl": '{"text": "北京大学"}\n{"text": "阿里巴巴", "weight": 2}\n{"text": "NIO"}\n',
    }
    path = tmp_path / f"names{kind}"
    data = rows[kind.removesuffix(".gz")].encode(encoding)
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    assert names(path) == [Name("北京大学"), Name("阿里巴巴", weight=2.0), Name("NIO")]
    assert problems(path) == []


@pytest.mark.parametrize(
    ("encoding", "text", "named"),
    [
        ("cp1252", "Zürich\nMünchen\nGöteborg\n", "Windows-1252"),
        ("big5", "臺灣大學\n國語日報\n鄧麗君\n", "Big5"),
    ],
)
def test_an_encoding_that_is_not_read_is_named(tmp_path: Path, encoding: str, text: str, named: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=f"cannot be read.*seems to be {named}; save it as UTF-8"):
        names(path)


@pytest.mark.parametrize(
    ("line", "text", "weight"),
    [
        # FunASR's.
        ("阿里巴巴 20", "阿里巴巴", 1.0),
        ("通义实验室 60", "通义实验室", 3.0),
        ("OpenAI\t10", "OpenAI", 0.5),
        # sherpa-onnx's.
        ("北京大学 :3", "北京大学", 2.0),
        ("HELLO WORLD :1.5 #0.35", "HELLO WORLD", 1.0),
        ("x iǎo ài t óng x ué :3.0 #0.6 @小爱同学", "小爱同学", 2.0),
        ("▁HE LL O ▁WORLD @HELLO_WORLD", "HELLO WORLD", 1.0),
        # Names.
        ("Windows 10", "Windows 10", 1.0),
        ("58同城", "58同城", 1.0),
        ("流浪地球2", "流浪地球2", 1.0),
        ("C#", "C#", 1.0),
        ("me@example.com", "me@example.com", 1.0),
        ("a :b", "a :b", 1.0),
    ],
)
def test_weights_of_other_programs_lists_are_no_part_of_the_name(
    tmp_path: Path, line: str, text: str, weight: float
) -> None:
    path = tmp_path / "names.txt"
    path.write_text(line + "\n张三\n", encoding="utf-8")
    assert names(path) == [Name(text, weight=weight), Name("张三")]


def test_names_on_one_line() -> None:
    assert names_in("阿里巴巴 20 通义实验室 :30, NIO") == ["阿里巴巴", "通义实验室", "NIO"]
    assert names_in("360 北京,上海") == ["360", "北京", "上海"] and names_in(" , ") == []


def test_latin_names_of_a_list_of_weights_have_theirs(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("阿里巴巴 20\nOpen AI 40\n\nWindows 10 60\n", encoding="utf-8")
    assert names(path) == [Name("阿里巴巴"), Name("Open AI", weight=2.0), Name("Windows 10", weight=3.0)]
    path.write_text("iPhone 15\nWindows 10\n", encoding="utf-8")
    assert [name.text for name in names(path)] == ["iPhone 15", "Windows 10"]
    path.write_text("北京 0\n上海 :-1\n", encoding="utf-8")
    assert all("must be positive" in problem for problem in problems(path)) and len(problems(path)) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("5G", ["u3 JH IY", "F AY V JH IY"]),
        ("3M", ["s an1 EH M", "TH R IY EH M"]),
        ("iPhone 15 Pro", ["AY F OW N sh iy2 u3 P R OW", "AY F OW N F IH F T IY N P R OW"]),
        ("C919", ["S IY j iou3 i1 j iou3", "S IY j iou3 iao1 j iou3", "S IY N AY N N AY N T IY N"]),
        ("B站", ["B IY zh an4"]),
        ("4S店", ["s ix4 EH S d ian4"]),
        ("AA制", ["EY EY zh iy4"]),
        ("C++", ["S IY P L AH S P L AH S", "S IY j ia1 j ia1"]),
        ("C#", ["S IY SH AA R P"]),
        ("AT&T", ["EY T IY AH N D T IY"]),
        ("R&B", ["AA R AH N D B IY"]),
        (".NET", ["D AA T N EH T", "d ian3 N EH T"]),
        ("单雄信", ["sh an4 x iong2 x in4"]),
    ],
)
def test_names_with_digits_letters_and_signs_are_said_in_both_languages(name: str, said: list[str]) -> None:
    assert set(said) <= {" ".join(pronunciation) for pronunciation in say(Name(name))}


def test_a_name_has_all_its_pronunciations() -> None:
    assert {("N", "IY", "OW"), ("EH", "N", "AY", "OW")} <= set(say(Name("NIO")))
    assert say(Name("乐", (("y", "ve4"),))) == [("y", "ve4")]
    assert len(say(Name("单"))) > 1
    with pytest.raises(ValueError, match="no pronunciation"):
        say(Name("नमस्ते"))


def test_pronunciations_as_symbols_or_pinyin() -> None:
    assert parse_pronunciation("n i3 hao3") == ("n", "i3", "h", "ao3")
    assert parse_pronunciation("N IY OW") == ("N", "IY", "OW")
