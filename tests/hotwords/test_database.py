import errno
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.errors import InputError
from nim4asr.hotwords import database as module
from nim4asr.hotwords.database import (
    NAME_ENDS,
    Database,
    Pronounced,
    assemble,
    is_database,
    load,
    pronounce_name,
    save,
)
from nim4asr.hotwords.names import Name
from nim4asr.phonemes import TABLE

NAMES = [Name("北京"), Name("背景", weight=2.0), Name("重庆", category="city"), Name("NIO"), Name("नमस्ते")]


@pytest.fixture
def database() -> Database:
    return assemble([pronounce_name(name)[0] for name in NAMES])


def keys(database: Database) -> dict[tuple[int, ...], list[int]]:
    """The pronunciations that end at each path of the trie."""
    found: dict[tuple[int, ...], list[int]] = {}

    def visit(node: int, path: tuple[int, ...]) -> None:
        ends = database.ending(node)
        assert bool(ends) == bool(database.labels[node] & NAME_ENDS)
        if ends:
            found[path] = list(ends)
        for below in range(int(database.child[node]), int(database.child[node + 1])):
            visit(below, (*path, int(database.labels[below] & 0x7F)))

    visit(0, ())
    return found


@given(st.lists(st.lists(st.integers(1, len(TABLE) - 1), min_size=1, max_size=9), max_size=30))
def test_the_trie_holds_exactly_the_toneless_keys(said: list[list[int]]) -> None:
    names = [Pronounced(Name(f"n{i}"), (bytes(one),)) for i, one in enumerate(said)]
    database = assemble(names)
    expected: dict[tuple[int, ...], set[str]] = {}
    for i, one in enumerate(said):
        expected.setdefault(tuple(TABLE.toneless[p] for p in one), set()).add(f"n{i}")
    found = keys(database)
    assert {
        path: {database.text(int(database.owner[p])) for p in ending} for path, ending in found.items()
    } == expected
    for path, ending in found.items():
        for pronunciation in ending:
            assert tuple(TABLE.toneless[p] for p in database.said(pronunciation)) == path


def test_a_file_gives_back_what_was_put_in(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "names.db"
    save(database, path)
    assert is_database(path) and not is_database(tmp_path)
    opened = load(path, verify=True)
    assert list(opened.pronounced()) == list(database.pronounced())
    assert keys(opened) == keys(database)
    assert [one.name.text for one in opened.pronounced()] == [name.text for name in NAMES]
    assert (opened.weight(1), opened.category(2), opened.category(0)) == (2.0, "city", "")
    # Homophones share a node.
    assert any(len({int(opened.owner[p]) for p in ending}) == 2 for ending in keys(opened).values())
    assert [p.name for p in path.parent.iterdir()] == ["names.db"]


def test_an_empty_database(tmp_path: Path) -> None:
    save(assemble([]), tmp_path / "none.db")
    assert len(load(tmp_path / "none.db", verify=True)) == 0


def test_broken_and_foreign_files(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "names.db"
    with pytest.raises(InputError, match="no such"):
        load(path)
    path.write_text("北京\n")
    with pytest.raises(InputError, match="no hotword database"):
        load(path)
    save(database, path)
    whole = path.read_bytes()
    for length in (10, 40, len(whole) - 64):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cut short"):
            load(path)
    path.write_bytes(whole[:-70] + b"x" * 6 + whole[-64:])
    with pytest.raises(InputError, match="damaged"):
        load(path, verify=True)
    path.write_bytes(whole)
    monkeypatch.setattr(module, "table_fingerprint", lambda: 1)
    with pytest.raises(InputError, match="another phoneme table"):
        load(path)
    monkeypatch.undo()
    monkeypatch.setattr(module, "VERSION", 3)
    with pytest.raises(InputError, match="version 2"):
        load(path)


def test_a_database_that_cannot_be_written_leaves_the_old_one(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "names.db"
    save(database, path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(InputError, match="cannot be written"):
        save(assemble([]), path)
    assert path.read_bytes() == before


def test_a_name_too_long_to_be_said_at_once() -> None:
    one, reason = pronounce_name(Name("天" * 60))
    assert one.said == () and "longer than 64 phonemes" in reason


def test_sections_are_small() -> None:
    many = [Name(f"张{chr(0x4E00 + i)}{chr(0x5000 + j)}") for i in range(40) for j in range(40)]
    database = assemble([one for one, _ in map(pronounce_name, many)])
    assert database.nbytes / len(many) < 100
    assert np.all(np.diff(database.node.astype(np.int64)) >= 0)


def _full(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
