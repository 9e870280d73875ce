"""``nim4 new``: the licenses of the parts, told where they are named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nim4asr.cli.main import main
from nim4asr.model.folder import ModelFolder, license_of
from recipes.parts import write_qwen3, write_whisper


def test_both_parts_say_their_licenses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whisper, qwen3 = write_whisper(tmp_path / "whisper"), write_qwen3(tmp_path / "qwen3", card=None)
    arguments = ["new", "--encoder", str(whisper), "--llm", str(qwen3), "-o", str(tmp_path / "model")]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert f"encoder: {whisper} says that its license is mit\n" in told
    # The other part names none.
    assert f"language model: {qwen3} names no license; look where it comes from" in told
    assert ModelFolder.open(tmp_path / "model").config.name == "whisper + qwen3"
    (qwen3 / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert main(["new", str(tmp_path / "model"), "--llm", str(qwen3), "-o", str(tmp_path / "again")]) == 0
    told = capsys.readouterr().out
    assert f"language model: {qwen3} says that its license is apache-2.0\n" in told and "encoder:" not in told


@pytest.mark.parametrize(
    ("card", "license"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: some-community-license\n---\n", "some-community-license"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense:\n- mit\n- cc-by-4.0\n---\n", "mit, cc-by-4.0"),
        ("# A model\n\nlicense: mit\n", None),
        ("---\nlanguage: en\n---\n", None),
        ("---\nlicense: 7\n---\n", None),
        ('---\nlicense: "a\\x07b"\n---\n', None),
        ("---\nlicense: [mit\n---\n", None),
        ("---\n- mit\n---\n", None),
        ("", None),
    ],
)
def test_a_card_s_front_matter(tmp_path: Path, card: str, license: str | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert license_of(tmp_path) == license


def test_cards_that_cannot_be_read(tmp_path: Path) -> None:
    assert license_of(tmp_path) is None and license_of(tmp_path / "nowhere") is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert license_of(tmp_path) is None


def test_nothing_is_written_over(toy_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By no command that makes a model's folder; it is told before torch is loaded."""
    there = tmp_path / "there"
    shutil.copytree(toy_model, there)
    before = {path.name: path.read_bytes() for path in there.iterdir()}
    model = str(toy_model)
    for command in (
        ["new", "--encoder", model, "--llm", model],
        ["import", "whisper", model],
        ["import", "firered", model],
        ["average", model, model],
        ["export", model, "--int8"],
    ):
        assert main([*command, "-o", str(there)]) == 1
        told = capsys.readouterr().err
        assert "there: this is there already; choose a new name for the model" in told
        assert told.count("\n") == 1
    assert {path.name: path.read_bytes() for path in there.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["new", "--encoder", "nowhere/at/all", "--llm", "FOLDER", "-o", "x"], "no such model folder"),
        (["new", "--encoder", "FOLDER", "--llm", "./nowhere", "-o", "x"], "no such model folder"),
        (["new", "--encoder", "FOLDER", "--llm", "FOLDER", "-o", "x"], "the folder has no config.json"),
        (["new", "--encoder", "FOLDER", "-o", "x"], "name the language model with --llm"),
        (["new", "magic", "--llm", "FOLDER", "-o", "x"], "magic: no recipe"),
        (["new", "-o", "x"], "give either a recipe or --encoder"),
        (["finetune", "nano", "none.jsonl", "-o", "x"], "there is no such manifest"),
        (["finetune", "nowhere", "none.jsonl", "-o", "x"], "no such model folder"),
        (["finetune", "nano", "none.jsonl", "-o", "x", "--threads", "0"], "threads must be from 1"),
        (["train", "from-public-parts", "--data", "FOLDER", "--init-model", "nano"], "there is no manifest"),
        (["train", "from-public-parts", "--data", "FOLDER", "--threads", "0"], "--threads must be from 1"),
        (["export", "nano", "--int8"], "name its folder with -o"),
    ],
)
def test_what_is_wrong_is_told_before_torch_is_loaded(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    asked = [str(tmp_path) if one == "FOLDER" else one for one in arguments]
    code = (
        "import sys; from nim4asr.cli.main import main; status = main(sys.argv[1:]); "
        "print(status, [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *asked], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "1 []\n"
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
