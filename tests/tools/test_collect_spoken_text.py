import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.collect_spoken_text import Source, collect, main, sentences, written_size

from nim4asr.errors import InputError

DEBATE = """<akomaNtoso><debate><debateBody><debateSection><heading>會議。</heading>
<narrative><p>(簡報開始)。</p></narrative>
<speech by="#a"><from>主席：</from><p>大家好，我們開始。第二件事……就是軟體的品質？</p>
<p>Thank you.</p></speech>
</debateSection></debateBody></debate></akomaNtoso>"""
TRANSCRIPT = r"""# Episode 3

**Ann Lee:** \[00:12\] Well... We read [the book](https://a.example), and "it" was good - so good! \[laughs\]

> quoted by nobody

**Bo:** Our Mr. Smith paid $3.50 for it.
"""


@pytest.mark.parametrize(
    ("turn", "kept"),
    [
        # What nobody says is taken out.
        ("Yes. (laughs) That {vocalsound} is fine.", ["Yes.", "That is fine."]),
        ("She said “no” to *all* of us.", ["She said no to all of us."]),
        ("That 's it , is n't it ?", ["That's it, isn't it?"]),
        # Dots and dashes of hesitation.
        ("I mean… we could -- or should - go...", ["I mean, we could, or should, go."]),
        ("Mr. Jones came at 10:30. He left at once!", ["Mr. Jones came at 10:30. He left at once!"]),
        ("It costs 20%. We know.", ["It costs 20%. We know."]),
        ("We know it all. It costs 20%.", ["We know it all.", "It costs 20%."]),
        # No sentences, or none that a recognizer writes.
        ("no capital, no mark", []),
        ("No mark at the end", []),
        ("See http://a.example/b/c for it.", []),
        ("Call print(x) and see it.", []),
        ("Nooooo way at all.", []),
        ("THIS IS ALL VERY LOUD.", []),
        ("C'est un long dimanche pour la France entière.", []),
        ("A " + "very " * 38 + "long one.", []),
        ("A " + "very " * 37 + "long one.", ["A " + "very " * 37 + "long one."]),
    ],
)
def test_english_sentences(turn: str, kept: list[str]) -> None:
    assert list(sentences(turn)) == [("en", sentence) for sentence in kept]


@pytest.mark.parametrize(
    ("turn", "kept"),
    [
        ("你好,我们开始吧!", ["你好，我们开始吧！"]),
        ("他说「好」（笑）。那就 去 吧。", ["他说好。", "那就去吧。"]),
        ("我想……就是——这样。", ["我想，就是，这样。"]),
        ("这个……。", ["这个。"]),
        ("真的吗？！", ["真的吗？"]),
        ("我用 iPhone 打了3.5小时，花了100元。", ["我用 iPhone 打了3.5小时，花了100元。"]),
        ("没有句号", []),
        ("好。", []),
        ("哈哈哈哈。", []),
        ("请看 www.example.com/abc/def 这里。", []),
        ("很" * 3 + "好" + "的确" * 28 + "。", ["很" * 3 + "好" + "的确" * 28 + "。"]),
        ("很" * 3 + "好" + "的确" * 28 + "吧。", []),
    ],
)
def test_chinese_sentences(turn: str, kept: list[str]) -> None:
    assert list(sentences(turn)) == [("zh", sentence) for sentence in kept]


def test_commands_get_their_capital_and_full_stop() -> None:
    assert list(sentences("play the song again", is_bare=True)) == [("en", "Play the song again.")]
    assert list(sentences("is it cold?", is_bare=True)) == []
    assert list(sentences("play the song again")) == []


def _debates(folder: Path) -> None:
    (folder / "a.xml").write_text(DEBATE)
    (folder / "b.xml").write_text("# 訪談\n### 主席：\n再見了。\n")
    (folder / "b.md").write_text("# 訪談\n### 主席：\n謝謝大家，資訊很多。\n")
    (folder / "README.md").write_text("We are not spoken.\n")


def _podcasts(folder: Path) -> None:
    (folder / "bigtent").mkdir()
    (folder / "bigtent/x.md").write_text("**Ann:** This belongs to somebody else.\n")
    (folder / "show").mkdir()
    (folder / "show/3.md").write_text(TRANSCRIPT)


def _meetings(folder: Path) -> None:
    said = [{"speaker": "A", "content": "Okay . So um I have n't seen it ."}]
    summary = {"answer": "They had not seen it."}
    (folder / "a.json").write_text(json.dumps({"meeting_transcripts": said, "queries": [summary]}))


def _tickets(folder: Path) -> None:
    context = json.dumps([{"role": "user", "text": "I want two tickets."}])
    (folder / "a.json").write_text(
        json.dumps([{"context": context, "note": "{no JSON", "target": "Not this."}])
    )


def _archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "val.json.zip", "w") as archive:
        archive.writestr("val.json", json.dumps({"1": {"messages": [{"content": "这家餐馆在哪里？"}]}}))


def _pairs(folder: Path) -> None:
    (folder / "cmn.txt").write_text("The law is old.\t這條法律很舊。\tCC-BY attribution\n")


def _slots(folder: Path) -> None:
    pieces = [{"text": "play "}, {"text": "Blue Moon", "entity": "track"}]
    (folder / "train.json").write_bytes(json.dumps({"PlayMusic": [{"data": pieces}]}).encode())
    (folder / "odd.json").write_bytes(b'{"a": [{"data": [{"text": "caf\xe9 music"}]}]}')


@pytest.mark.parametrize(
    ("name", "write", "zh", "en"),
    [
        (
            "archive-tw",
            _debates,
            # Taiwan's 軟體, 品質 and 資訊 are said otherwise on the mainland.
            ["大家好，我们开始。", "第二件事，就是软件的品质？", "再见了。", "谢谢大家，信息很多。"],
            ["Thank you."],
        ),
        (
            "changelog",
            _podcasts,
            [],
            ["Well.", "We read the book, and it was good, so good!", "Our Mr. Smith paid $3.50 for it."],
        ),
        ("qmsum", _meetings, [], ["Okay.", "So um I haven't seen it."]),
        ("taskmaster", _tickets, [], ["I want two tickets."]),
        ("crosswoz", _archive, ["这家餐馆在哪里？"], []),
        ("tatoeba", _pairs, ["这条法律很旧。"], ["The law is old."]),
        ("snips", _slots, [], ["Play Blue Moon."]),
    ],
)
def test_what_each_source_says(
    tmp_path: Path, name: str, write: Callable[[Path], None], zh: list[str], en: list[str]
) -> None:
    pytest.importorskip("opencc")
    write(tmp_path)
    found, left_out = collect({name: tmp_path})
    assert found.get((name, "zh"), []) == zh and found.get((name, "en"), []) == en
    assert left_out == 0


def test_nothing_comes_twice_and_what_dev_says_not_at_all(tmp_path: Path) -> None:
    for name in ("qmsum", "dstc8", "out"):
        (tmp_path / name).mkdir()
    meeting = [{"content": "The river is long. The hill is high."}, {"content": "It is 5 degrees."}]
    turns = {"turns": [{"utterance": "The hill is high!"}, {"utterance": "The lake is deep."}]}
    (tmp_path / "qmsum/a.json").write_text(json.dumps(meeting))
    (tmp_path / "dstc8/a.json").write_text(json.dumps(turns))
    found, left_out = collect(
        {"qmsum": tmp_path / "qmsum", "dstc8": tmp_path / "dstc8"}, said=["the river is long", "nothing"]
    )
    assert found == {
        ("qmsum", "en"): ["The hill is high.", "It is 5 degrees."],
        ("dstc8", "en"): ["The lake is deep."],
    }
    assert left_out == 1


def test_texts_and_their_table_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kd").mkdir()
    messages = [
        {"message": "知道这部电影吗？"},
        {"message": "是2004年的。"},
        {"message": "I like it very much."},
    ]
    (tmp_path / "kd/dev.json").write_text(json.dumps(messages))
    dev = {"id": "d", "audio": "d.flac", "text": "i like it very much", "language": "en", "split": "dev"}
    (tmp_path / "dev.jsonl").write_text(json.dumps(dev) + "\n")
    arguments = [f"kdconv={tmp_path / 'kd'}", "-o", str(tmp_path / "texts")]
    monkeypatch.setattr(
        "sys.argv", ["collect_spoken_text", *arguments, "--apart-from", str(tmp_path / "dev.jsonl")]
    )
    assert main() == 0
    assert gzip.decompress((tmp_path / "texts/kdconv.zh.txt.gz").read_bytes()).decode().splitlines() == [
        "知道这部电影吗？",
        "是2004年的。",
    ]
    assert not (tmp_path / "texts/kdconv.en.txt.gz").exists()
    assert "| kdconv | zh | 2 | 10 | Apache-2.0 |" in (tmp_path / "texts/README.md").read_text()
    assert "1 sentences that dev says were left out" in capsys.readouterr().out


def test_sizes_count_characters_and_words() -> None:
    assert written_size("zh", ["你好，2号。", "去iPhone店。"]) == 5
    assert written_size("en", ["I don't know.", "Yes."]) == 4


@pytest.mark.parametrize(
    ("argument", "file", "content", "complaint"),
    [
        ("nowhere={}", None, b"", "no source that is known"),
        ("qmsum={}/missing", None, b"", "no such folder"),
        ("qmsum={}", "a.json", b"{", "no JSON"),
        ("crosswoz={}", "a.zip", b"PK", "archive cannot be read"),
        ("archive-tw={}", "a.xml", b"<a>", "no XML"),
        ("changelog={}", "a.md", b"# nothing\n", "nothing is written"),
    ],
)
def test_bad_sources_are_refused_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argument: str,
    file: str | None,
    content: bytes,
    complaint: str,
) -> None:
    if file is not None:
        (tmp_path / file).write_bytes(content)
    monkeypatch.setattr("sys.argv", ["c", argument.format(tmp_path), "-o", str(tmp_path / "texts")])
    assert main() == 2
    assert complaint in capsys.readouterr().err and not (tmp_path / "texts").exists()


def test_without_opencc_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opencc", None)
    source = Source("CC0-1.0", lambda folder: iter(["這是一句話。"]), conversion="tw2s")
    monkeypatch.setattr("tools.collect_spoken_text.SOURCES", {"mine": source})
    with pytest.raises(InputError, match="pip install"):
        collect({"mine": tmp_path})
