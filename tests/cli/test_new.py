"""``nim4 new``: the licenses of the parts, told where they are named."""

from pathlib import Path

import pytest

from nim4asr.cli.main import main
from nim4asr.model.folder import license_of
from recipes.parts import write_qwen3, write_whisper


def test_both_parts_say_their_licenses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whisper, qwen3 = write_whisper(tmp_path / "whisper"), write_qwen3(tmp_path / "qwen3", card=None)
    arguments = ["new", "--encoder", str(whisper), "--llm", str(qwen3), "-o", str(tmp_path / "model")]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert f"encoder: {whisper} says that its license is mit\n" in told
    # The other part names none, and nothing is said of it.
    assert "language model:" not in told
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
