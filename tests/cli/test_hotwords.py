import json
import multiprocessing
from pathlib import Path

import pytest

from nim4asr.cli.main import main
from nim4asr.hotwords.index import HotwordIndex

CLIP = Path(__file__).parents[1] / "clips/zh-1.flac"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["hotwords", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture
def database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    lines = "\n".join(["天安门广场", "", "张伟东", "张伟东", *("!" * n for n in range(1, 25))])
    (tmp_path / "names.txt").write_text(lines, encoding="utf-8")
    status, out, err = run(
        capsys, "build", tmp_path / "names.txt", "-o", tmp_path / "names.db", "--workers", 1
    )
    row = json.loads(out)
    assert (status, row["names"], row["lines_with_problems"]) == (0, 2, 26)
    assert err.startswith(f"nim4: {tmp_path / 'names.txt'}, line 2: empty\n")
    assert err.endswith("nim4: and 6 lines more\n")
    return tmp_path / "names.db"


def test_search_says_what_is_found_where_and_why(capsys: pytest.CaptureFixture[str], database: Path) -> None:
    status, out, _ = run(capsys, "search", database, "--text", "张伟东在天安门广场")
    assert status == 0
    assert out.splitlines() == [
        "   0.04    0.40  1.00   +5.7  with tones  张伟东",
        "   0.60    1.28  1.00  +10.5  with tones  天安门广场",
    ]
    _, out, _ = run(capsys, "search", database, "--phonemes", "zhang1 wei1 dong1", "--json")
    (row,) = map(json.loads, out.splitlines())
    assert (row["text"], row["score"], row["tones"]) == ("张伟东", 1.0, False)


def test_search_in_speech(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "names.jsonl").write_text(
        '{"text": "国人", "pronunciation": "guo2 ren2"}\n', encoding="utf-8"
    )
    status, out, err = run(capsys, "search", tmp_path / "names.jsonl", "--audio", CLIP, "--json")
    assert (status, err) == (0, "")
    (row,) = map(json.loads, out.splitlines())
    assert row["text"] == "国人" and 0.5 < row["start"] < row["end"] < 3.0


def test_add_remove_and_info(capsys: pytest.CaptureFixture[str], database: Path) -> None:
    assert run(capsys, "add", database, "重庆大学", "नमस्ते")[:2] == (0, '{"names": 4}\n')
    status, out, err = run(capsys, "remove", database, "张伟东", "谁")
    assert (status, out) == (1, '{"names": 3}\n') and "no name '谁'" in err
    _, out, _ = run(capsys, "info", database)
    assert json.loads(out)["names"] == 3
    _, out, _ = run(capsys, "search", database, "--text", "张伟东在重庆大学")
    assert "重庆大学" in out and "张伟东" not in out


def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path
) -> None:
    whole = database.read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    for arguments, said in (
        (("build", tmp_path / "no.txt", "-o", database), "no such list"),
        (("search", tmp_path / "cut.db", "--text", "天"), "cut short"),
        (("search", database, "--text", "Щ"), "no pronunciation"),
        (("search", database, "--phonemes", "xyz"), "pinyin"),
        (("search", database, "--audio", "no.wav"), "no such file"),
        (("info", tmp_path / "names.txt"), "no hotword database"),
    ):
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (1, "") and said in err and err.count("\n") == 1
    assert database.read_bytes() == whole


def test_bench(capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio": str(CLIP), "text": "他是中国人", "language": "zh"}) + "\n")
    run(capsys, "add", database, "中国人")
    status, out, _ = run(capsys, "bench", database, manifest)
    row = json.loads(out)
    assert (status, row["names"], row["names_said"]) == (0, 3, 1)
    assert next(one for one in row["near_paths"] if one["least"] == 0)["recall"] == 1.0
    assert run(capsys, "bench", database, manifest, "--split", "dev")[0] == 1


@pytest.mark.parametrize("command", ["transcribe", "stream"])
def test_hotwords_in_the_other_commands(
    capsys: pytest.CaptureFixture[str], database: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "list.txt").write_text("中国人\n上海\n", encoding="utf-8")
    form = ["--json"] if command == "stream" else ["--format", "json"]
    assert main([command, str(CLIP), "--hotwords", str(tmp_path / "list.txt"), *form]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    segment = row if command == "stream" else row["segments"][0]
    assert [hit["text"] for hit in segment["hits"]] == ["中国人"]
    assert 0.5 < segment["hits"][0]["start"] < segment["hits"][0]["end"] < 3
    assert segment["hints_used"] == [one for one in segment["hints"] if one in segment["text"]]
    for arguments, said in (
        (["--hotwords", str(tmp_path / "none.txt")], "no such list"),
        (["--most-hints", "3"], "add --hotwords"),
        (["--hotwords", str(database), "--most-hints", "21"], "from 0 to 20"),
    ):
        assert main([command, str(CLIP), *arguments]) == 1
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_evaluate_with_hotwords(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("中国人\n上海\n", encoding="utf-8")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"audio": str(CLIP), "text": "他是中国人", "language": "zh"}) + "\n")
    for more in ([], ["--streaming"], ["--most-hints", "0"]):
        assert main(["evaluate", str(manifest), "--hotwords", str(tmp_path / "list.txt"), *more]) == 0
        total = json.loads(capsys.readouterr().out)["total"]
        assert (total["names_said"], total["heard_recall"], total["false_accepts_per_1000"]) == (1, 1.0, 0.0)


def add_in_a_process(database: Path, name: str) -> None:
    assert main(["hotwords", "add", str(database), name]) == 0


def test_names_added_at_once_are_all_there(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("北京\n", encoding="utf-8")
    database = tmp_path / "names.db"
    assert main(["hotwords", "build", str(tmp_path / "names.txt"), "-o", str(database)]) == 0
    spawn = multiprocessing.get_context("spawn")
    new = ["上海", "天津", "重庆"]
    workers = [spawn.Process(target=add_in_a_process, args=(database, name)) for name in new]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert set(HotwordIndex.load(database).texts()) == {"北京", *new}
