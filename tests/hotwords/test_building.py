"""The trie of a database."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.hotwords.ascending import unpack
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.database import NAME_ENDS, SOUND, Database
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced, packed, pronounce_name
from nim4asr.phonemes import TABLE


def keys(database: Database) -> dict[tuple[int, ...], list[int]]:
    """The pronunciations that end at each path of the trie."""
    found: dict[tuple[int, ...], list[int]] = {}

    def visit(node: int, path: tuple[int, ...]) -> None:
        ends = database.ending(node)
        assert bool(ends) == bool(database.labels[node] & NAME_ENDS)
        if ends:
            found[path] = list(ends)
        for below in database.children(node):
            visit(below, (*path, int(database.labels[below] & SOUND)))

    visit(0, ())
    return found


@given(st.lists(st.lists(st.integers(1, len(TABLE) - 1), min_size=1, max_size=9), max_size=30))
def test_the_trie_holds_exactly_the_toneless_keys(said: list[list[int]]) -> None:
    names = [Pronounced(Name(f"n{i}"), (packed(one),)) for i, one in enumerate(said)]
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
            assert tuple(TABLE.toneless[p] for p in database.phonemes(pronunciation)) == path


def test_sections_are_small() -> None:
    many = [Name(f"张{chr(0x4E00 + i)}{chr(0x5000 + j)}") for i in range(40) for j in range(40)]
    database = assemble([one for one, _ in map(pronounce_name, many)])
    assert database.nbytes / len(many) < 100
    assert np.all(np.diff(unpack(*database.node)) >= 0)
