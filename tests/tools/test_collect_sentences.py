import gzip
import json
from pathlib import Path

import pytest
from tools.collect_sentences import SentenceFilter, collect, main

TOKENIZED = "The town 's mayor , who was young , did n't come . Mr. Smith came to town . He sold the house ."


def test_sentences_are_repaired_and_split() -> None:
    assert SentenceFilter().sentences(TOKENIZED) == [
        "The town's mayor, who was young, didn't come.",
        # Who came is not a sentence without "Mr.".
        "He sold the house.",
    ]


@pytest.mark.parametrize(
    ("sentence", "fits"),
    [
        ("He was born in a small town.", True),
        ("He was born there.", True),
        ("He came home.", False),
        ("It was the " + "very " * 9 + "last one.", True),
        ("It was the " + "very " * 10 + "last one.", False),
        ("He was born in 1950 in Berlin.", False),
        ("He (the son) was born here.", False),
        ("He was born in Xqzzwk again.", False),
        ("he was born in a small town.", False),
        ("Born in a small town", False),
        ("He was born in Córdoba today.", False),
        ("She was well-known to the boys' school.", True),
    ],
)
def test_what_can_be_read_aloud(sentence: str, fits: bool) -> None:
    assert SentenceFilter().fits(sentence) is fits


def test_every_paragraph_of_every_kind_of_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    articles = tmp_path / "articles"
    (articles / "deep").mkdir(parents=True)
    passages = {"/a": ["The river runs to the sea."], "/b": {"n": 3, "t": "The hill is very high here."}}
    (articles / "a.json").write_text(json.dumps(passages))
    (articles / "deep/b.tsv").write_text("x\tThe old house was sold . <::::> It is a school now .\n")
    (articles / "c.txt").write_text("THE RIVER\nThe river runs to the sea!\nNobody lives there any more.\n")
    dev: dict[str, str | float] = {"id": "d", "audio": "d.flac", "text": "nobody lives there any more"}
    dev |= {"language": "en", "duration": 1.0, "split": "dev"}
    (tmp_path / "dev.jsonl").write_text(json.dumps(dev) + "\n")
    output = tmp_path / "text/en.txt.gz"
    arguments = [str(articles), "-o", str(output), "--apart-from", str(tmp_path / "dev.jsonl")]
    monkeypatch.setattr("sys.argv", ["collect_sentences", *arguments])
    assert main() == 0
    # What differs in its punctuation alone is the same sentence.
    assert gzip.decompress(output.read_bytes()).decode().splitlines() == [
        "The river runs to the sea.",
        "The hill is very high here.",
        "The old house was sold.",
        "It is a school now.",
    ]
    assert "4 sentences" in (told := capsys.readouterr().out) and "; 1 that dev says" in told


def test_a_paragraph_gives_a_few_and_the_same_each_time(tmp_path: Path) -> None:
    names = ("river", "hill", "house", "school", "garden", "road")
    (tmp_path / "a.txt").write_text(" ".join(f"The {name} is very old now." for name in names))
    (kept, left_out), again = (
        collect([tmp_path], SentenceFilter(), ()),
        collect([tmp_path], SentenceFilter(), ()),
    )
    assert (kept, left_out) == again and len(kept) == 3 and left_out == 0
    assert collect([tmp_path], SentenceFilter(), (), seed=1)[0] != kept


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("missing.txt", None, "no such file or folder"),
        ("a.json", b"{", "no JSON"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read"),
        ("a.txt", b"nothing here\n", "nothing is written"),
    ],
)
def test_bad_sources_are_refused_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    complaint: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    output = tmp_path / "out.txt.gz"
    monkeypatch.setattr("sys.argv", ["collect_sentences", str(tmp_path / name), "-o", str(output)])
    assert main() == 2
    assert complaint in capsys.readouterr().err and not output.exists()
