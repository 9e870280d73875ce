"""The house keeps its order: nothing imports upwards, nothing leans on the recognizer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import auctionlab

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "auctionlab"
FLOORS = [
    {"market"},
    {"auction", "bids"},
    {"optimum"},
    {"evolution", "pacing"},
    {"environments"},
    {"agents"},
    {"logs"},
    {"evaluation"},
    {"experiments"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(SOURCE.rglob("*.py"))


def imports(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


def test_every_room_has_a_floor() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(
        FLOOR
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_nothing_imports_upwards_or_the_other_product(file: Path) -> None:
    room = file.relative_to(SOURCE).parts[0]
    for name in imports(file):
        assert not name.startswith("nim4asr")
        parts = name.split(".")
        if parts[0] == "auctionlab" and len(parts) > 1 and room in FLOOR and parts[1] in FLOOR:
            assert FLOOR[parts[1]] <= FLOOR[room], f"{file.name} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_torch_is_only_imported_by_what_learns(file: Path) -> None:
    if file.parts[-2] == "agents" or file.name in ("train.py", "experiment.py"):
        return
    assert not {"torch", "safetensors"} & {name.split(".")[0] for name in imports(file)}


def test_the_other_product_does_not_know_this_one() -> None:
    other = ROOT.parent / "src" / "nim4asr"
    if not other.is_dir():
        pytest.skip("this product stands alone")
    for file in other.rglob("*.py"):
        assert "auctionlab" not in file.read_text(encoding="utf-8"), file


def test_every_public_name_is_there() -> None:
    for name in auctionlab.__all__:
        assert getattr(auctionlab, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = auctionlab.nothing
