"""What README and the docs show is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from auctionlab.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
LEARNS = re.compile(r"auctionlab\.agents")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.name}
    for block in blocks(page, "python"):
        if LEARNS.search(block):
            pytest.importorskip("torch", reason="learning needs the extra rl")
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        if "write(" in block:
            exec(compile(block, str(page), "exec"), {})
    for block in blocks(page, "console"):
        for line in re.findall(r"^\$ auctionlab (.*)$", block, re.MULTILINE):
            try:
                assert main(shlex.split(line)) == 0
            except SystemExit as end:
                assert end.code == 0  # noqa: PT017  (--help ends so)


def test_the_demo_prints_what_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    shown = blocks(ROOT / "README.md", "console")[0].removeprefix("$ make demo\n")
    printed = capsys.readouterr().out
    # Another processor rounds the last bit otherwise, and a search of many steps makes more of it.
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    for ours, theirs in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=0.05, abs=0.051)
    assert (tmp_path / "demo.png").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_lines_are_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    for line in text.splitlines():
        assert len(line) <= 110, line


def test_the_map_names_what_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text):
        assert (ROOT / path).is_file() or (ROOT / "src" / "auctionlab" / path).is_file(), path
