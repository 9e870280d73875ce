"""NOTICE names what an installation brings along, under the licenses that the packages state."""

import re
from pathlib import Path

import pytest

from tools import notice

ROOT = Path(__file__).parents[2]
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
LISTED = NOTICE.partition(notice.BEGIN)[2].partition(notice.END)[0]


def listed() -> dict[str, dict[str, str]]:
    """The packages of each paragraph, with their licenses."""
    found = {}
    for paragraph in LISTED.strip().split("\n\n"):
        title, _, packages = paragraph.replace("\n", " ").partition(": ")
        found[title] = dict(re.findall(r"([\w.-]+) \(([^()]*)\)", packages))
    return found


def test_all_that_is_required_is_named() -> None:
    for extra, requirements in notice._requirements().items():
        if extra != "dev":
            names = {re.split(r"[^\w.-]", text)[0].replace("_", "-").lower() for text in requirements}
            assert names <= set(listed()[extra or "Always"]), extra


def test_what_is_installed_here_is_as_named() -> None:
    always = notice.closure(notice._requirements()[""])
    assert always <= set(listed()["Always"])
    # What only another system or another Python needs may be named too.
    assert {name for name in set(listed()["Always"]) - always if notice._installed(name)} == set()
    for packages in listed().values():
        for name, license_name in packages.items():
            assert license_name not in ("", "not stated") and notice.license_of(name) in (None, license_name)


def test_a_list_that_is_not_current_is_told_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=1"]\n'
        '[project.optional-dependencies]\nfar = ["not-here>=2"]\nboth = ["nim4asr[far]", "tqdm>=4"]\n'
        'dev = ["pytest>=8"]\n'
    )
    before = f"By hand.\n{notice.BEGIN}\nfar: not-here (MIT); old (MIT).\n{notice.END}\nTail.\n"
    (tmp_path / "NOTICE").write_text(before)
    monkeypatch.setattr(notice, "ROOT", tmp_path)
    assert notice.main(["--check"]) == 1 and "not current" in capsys.readouterr().err
    assert (tmp_path / "NOTICE").read_text() == before
    assert notice.main([]) == 0 and notice.main(["--check"]) == 0
    text = (tmp_path / "NOTICE").read_text()
    assert text.startswith("By hand.\n") and text.endswith("\nTail.\n") and "old" not in text
    assert "Always: numpy (BSD-3-Clause" in text and "\nfar: not-here (MIT).\n" in text
    assert "\nboth: not-here (MIT); tqdm (" in text and "pytest" not in text
