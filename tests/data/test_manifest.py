import io
import json
import tarfile
from pathlib import Path

import pytest

from nim4asr.data.manifest import language_code, member_names, read_manifest, unique
from nim4asr.errors import InputError


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def test_paths_are_the_manifests_or_absolute(tmp_path: Path) -> None:
    manifest = write(
        tmp_path / "m.jsonl",
        {"audio": "a.wav", "text": "你好", "language": "zh"},
        "",
        {"audio": "/b.wav", "text": "hi", "lang": "en-US", "id": 7, "split": "dev"},
    )
    one, other = read_manifest(manifest)
    assert one.source() == tmp_path / "a.wav"
    assert one.language == "zh"
    assert (other.source(), other.id, other.language, other.split) == (Path("/b.wav"), "7", "en", "dev")


def test_members_of_archives(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("x/1.wav", "x/2.wav"):
            info = tarfile.TarInfo(name)
            info.size = 7
            archive.addfile(info, io.BytesIO(f"sound {name[2]}".encode()))
    row = {"tar": "a.tar", "audio": "x/2.wav", "text": "", "language": "en"}
    (utterance,) = read_manifest(write(tmp_path / "m.jsonl", row))
    assert utterance.source() == b"sound 2"
    assert member_names(str(tmp_path / "a.tar")) == ["x/1.wav", "x/2.wav"]
    (missing,) = read_manifest(write(tmp_path / "m.jsonl", {**row, "audio": "x/3.wav"}))
    with pytest.raises(InputError, match="no member"):
        missing.source()
    (nowhere,) = read_manifest(write(tmp_path / "m.jsonl", {**row, "tar": "b.tar"}))
    with pytest.raises(InputError, match="cannot be read"):
        nowhere.source()


@pytest.mark.parametrize(
    "row",
    ["not json", "[]", "3", {"audio": "a.wav"}, {"audio": 3, "text": "x"}, {"audio": "a", "text": None}],
)
def test_bad_lines_are_named(tmp_path: Path, row: object) -> None:
    good = {"audio": "a.wav", "text": "x", "language": "en"}
    with pytest.raises(InputError, match="line 2"):
        read_manifest(write(tmp_path / "m.jsonl", good, row))


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such manifest"):
        read_manifest(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match="no utterance"):
        read_manifest(write(tmp_path / "m.jsonl", ""))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path / "binary.jsonl")


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ("zh ZH zh-CN zh_TW zh-Hans-CN cn CN cmn chi zho Chinese chinese mandarin 中文 普通话", "zh"),
        ("en EN en-US en_GB eng English english", "en"),
        ("de de-DE deu German", "de"),
        ("yue Cantonese", "yue"),
        ("vi vi-VN", "vi"),
        ("tlh TLH", "tlh"),
    ],
)
def test_languages_by_code_or_name(tmp_path: Path, names: str, code: str) -> None:
    rows = [{"audio": "a.wav", "text": "x", "language": name} for name in names.split()]
    rows += [{"audio": "a.wav", "text": "x", "lang": name} for name in names.split()]
    assert {utterance.language for utterance in read_manifest(write(tmp_path / "m.jsonl", *rows))} == {code}
    assert language_code("Chinese (Mandarin)") == "zh"


def test_a_language_that_is_not_given_is_that_of_the_text(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "text": text} for text in ("你好", "hello", "OK 吗", "")]
    utterances = read_manifest(write(tmp_path / "m.jsonl", *rows))
    assert [utterance.language for utterance in utterances] == ["zh", "en", "zh", "zh"]
    with pytest.raises(InputError, match="line 1: 'language' must be a string"):
        read_manifest(write(tmp_path / "m.jsonl", {"audio": "a", "text": "x", "language": ["zh"]}))


def test_no_two_utterances_have_one_id(tmp_path: Path) -> None:
    rows = [{"audio": "a.wav", "text": "x", "id": id} for id in ("a", "b", "a", "a#2", "a", "b")]
    rows += [{"audio": "c.wav", "text": "x"}] * 2
    ids = [utterance.id for utterance in read_manifest(write(tmp_path / "m.jsonl", *rows))]
    assert ids == ["a", "b", "a#3", "a#2", "a#4", "b#2", "c.wav", "c.wav#2"]
    assert unique([]) == [] and unique(["a"] * 3) == ["a", "a#2", "a#3"]


def test_a_language_that_nobody_knows_is_told(tmp_path: Path) -> None:
    for name in ("klingon", "e", "Elvish (Sindarin)"):
        path = write(tmp_path / "m.jsonl", {"audio": "a.wav", "text": "x", "language": name})
        with pytest.raises(InputError, match=r"line 1: '.*' is no language that is known; write its code"):
            read_manifest(path)
