import errno
import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotwords.test_building import keys
from nim4asr.errors import InputError
from nim4asr.hotwords import building, search, storage
from nim4asr.hotwords import database as databases
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced, packed, pronounce_name
from nim4asr.hotwords.storage import is_database, load, save
from nim4asr.phonemes import TABLE, PhonemeTable, pronounce

NAMES = [Name("北京"), Name("背景", weight=2.0), Name("重庆", category="city"), Name("NIO"), Name("नमस्ते")]


@pytest.fixture
def database() -> Database:
    return assemble([pronounce_name(name)[0] for name in NAMES])


def test_a_file_gives_back_what_was_put_in(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "names.db"
    save(database, path)
    assert is_database(path) and not is_database(tmp_path)
    opened = load(path)
    assert list(opened.pronounced()) == list(database.pronounced())
    assert keys(opened) == keys(database)
    assert [one.name.text for one in opened.pronounced()] == [name.text for name in NAMES]
    assert (opened.weight(1), opened.category(2), opened.category(0)) == (2.0, "city", "")
    # Homophones share a node.
    assert any(len({int(opened.owner[p]) for p in ending}) == 2 for ending in keys(opened).values())
    assert [p.name for p in path.parent.iterdir()] == ["names.db"]


def test_an_empty_database(tmp_path: Path) -> None:
    save(assemble([]), tmp_path / "none.db")
    opened = load(tmp_path / "none.db")
    # By its sections too, which are checked when they are asked for.
    assert len(opened) == 0 and not list(opened.pronounced())


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
    path.write_bytes(whole[:-64] + b"x" * 4 + whole[-60:])
    with pytest.raises(InputError, match="damaged"):
        _ = load(path).sections
    path.write_bytes(whole)
    monkeypatch.setattr("nim4asr.hotwords.storage.table_fingerprint", lambda: 1)
    with pytest.raises(InputError, match="another phoneme table"):
        load(path)
    monkeypatch.undo()
    monkeypatch.setattr("nim4asr.hotwords.storage.VERSION", 4)
    with pytest.raises(
        InputError,
        match=f"version 3, this is version 4; build it again .* nim4 hotwords build LIST -o {path}",
    ):
        load(path)


def test_a_database_of_the_second_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """It had a byte a phoneme, and ends of texts without bases."""
    header, body = parts(file_of(SOME))
    names = ("text", "text_ends", "weight", "category", "owner", "node", "said", "labels", "child")
    old = {name: header["sections"][name] for name in names}
    path = tmp_path / "old.db"
    path.write_bytes(joined({**header, "version": 2, "sections": old}, body))
    with pytest.raises(InputError, match="is of version 2, this is version 3; build it again from its lists"):
        load(path)


def test_a_table_may_have_more_phonemes_than_a_byte_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = PhonemeTable(["<blank>", *(f"X{i}" for i in range(1, 700))])
    for module in (building, databases, storage, search):
        monkeypatch.setattr(module, "TABLE", table)
    monkeypatch.setattr(search, "_STARTS", np.arange(len(table) + 1))
    # Of the same low bytes.
    sounds = [[300, 301, 699], [44, 45, 187], [300, 45, 187], [699] * 64]
    names = [Pronounced(Name(f"n{i}"), (packed(one),)) for i, one in enumerate(sounds)]
    save(assemble(names), tmp_path / "names.db")
    opened = load(tmp_path / "names.db")
    assert {opened.text(int(opened.owner[p])): list(opened.phonemes(p)) for p in range(4)} == {
        f"n{i}": one for i, one in enumerate(sounds)
    }
    for number, one in enumerate(sounds[:3]):
        walk = search.TrieSearch(opened, search.SearchConfig(cost_budget=0.0, cost_per_phoneme=0.0))
        walk.feed(search.toneless_costs(search.certain(one)))
        (match,) = walk.matches()
        assert [opened.text(int(opened.owner[p])) for p in opened.ending(match.node)] == [f"n{number}"]


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


def _full(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@settings(deadline=None, max_examples=120)
@given(data=st.data())
def test_damage_is_refused(data: st.DataObject) -> None:
    whole = bytearray(file_of(SOME))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    assert_refused_or_equal(bytes(whole))
    assert_refused_or_equal(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_forged_check_sums_lead_nowhere(data: st.DataObject) -> None:
    """What passes its check sums but not its laws is refused, and what passes both can be searched."""
    whole = file_of(SOME)
    header, body = parts(whole)
    name = data.draw(st.sampled_from(sorted(header["sections"])))
    section = header["sections"][name]
    size = np.dtype(section["dtype"]).itemsize * section["length"]
    torn = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        place = section["place"] + data.draw(st.integers(0, size - 1))
        torn[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        section["length"] = data.draw(st.integers(-1, 2 * section["length"]))
    count = np.dtype(section["dtype"]).itemsize * max(0, section["length"])
    section["crc"] = zlib.crc32(bytes(torn[section["place"] : section["place"] + count]))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "names.db"
        path.write_bytes(joined(header, bytes(torn)))
        try:
            index = HotwordIndex.load(path)
            index.verify()
        except InputError:
            return
        random = np.random.default_rng(0)
        log_probs = np.log(random.dirichlet(np.full(len(TABLE), 0.02), 40) + 1e-9).astype(np.float32)
        index.search(log_probs, 0.04)
        index.search_phonemes(TABLE.encode(pronounce("北京大学")))
        assert len(list(index.texts())) <= len(index)


def set_at(name: str, place: int, value: float) -> Callable[[dict[str, np.ndarray]], None]:
    """A change of one value of one section."""

    def change(sections: dict[str, np.ndarray]) -> None:
        sections[name][place] = value

    return change


@pytest.mark.parametrize(
    "broken",
    [
        set_at("child", 0, 2),
        set_at("child", -1, 3),
        set_at("child", 3, 2),
        # A node that is its own child: a search would walk down it for ever.
        lambda sections: set_at("child", 1, 1)(sections),
        set_at("labels", 1, 0x7FFF),
        set_at("said", 0, len(TABLE)),
        set_at("child_bases", 0, 2),
        set_at("node_bases", 0, 5000),
        set_at("text_ends_bases", 0, 1000),
        lambda sections: sections["labels"].__setitem__([1, 2], sections["labels"][[2, 1]]),
        lambda sections: sections["node"].__setitem__([0, -1], sections["node"][[-1, 0]]),
        lambda sections: set_at("node", -1, len(sections["labels"]))(sections),
        lambda sections: set_at("owner", 0, len(sections["weight"]))(sections),
        set_at("text_ends", 0, 1000),
        set_at("text_ends", -1, 5),
        set_at("category", 0, 1),
        set_at("weight", 0, 0.0),
        set_at("weight", 0, np.inf),
        set_at("weight", 0, np.nan),
    ],
)
def test_each_law_of_a_database_is_held_to(
    tmp_path: Path, broken: Callable[[dict[str, np.ndarray]], None]
) -> None:
    path = tmp_path / "names.db"
    path.write_bytes(file_of(SOME))
    sections = {name: array.copy() for name, array in load(path).sections.items()}
    header, body = parts(file_of(SOME))
    broken(sections)
    torn = bytearray(body)
    for name, array in sections.items():
        section = header["sections"][name]
        torn[section["place"] : section["place"] + array.nbytes] = array.tobytes()
        section["crc"] = zlib.crc32(array.tobytes())
    path.write_bytes(joined(header, bytes(torn)))
    opened = load(path)
    for _ in range(2):
        with pytest.raises(InputError, match="damaged"):
            _ = opened.labels


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", "2"),
        ("table", None),
        ("sections", []),
        ("categories", [1]),
        ("categories", {}),
        ("sections", None),
    ],
)
def test_headers_of_another_shape(tmp_path: Path, key: str, value: object) -> None:
    header, body = parts(file_of(SOME))
    path = tmp_path / "names.db"
    path.write_bytes(joined({**header, key: value}, body))
    with pytest.raises(InputError, match="build it again"):
        load(path)


SOME = ("北京", "北京大学", "大学", "背景", "New York", "NIO", "单")


@cache
def file_of(names: tuple[str, ...]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "names.db"
        save(assemble([pronounce_name(Name(one))[0] for one in names]), path)
        return path.read_bytes()


def parts(whole: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(whole[8:16], "little")
    return json.loads(whole[20 : 20 + length]), whole[-(-(20 + length) // 64) * 64 :]


def joined(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    opening = (
        file_of(SOME)[:8] + len(text).to_bytes(8, "little") + zlib.crc32(text).to_bytes(4, "little") + text
    )
    return opening + b"\0" * (-len(opening) % 64) + body


def assert_refused_or_equal(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "names.db"
        path.write_bytes(data)
        try:
            opened = load(path)
            _ = opened.sections
        except InputError:
            return
        path.write_bytes(file_of(SOME))
        # Nothing but the padding between sections may differ.
        assert all(map(np.array_equal, opened.sections.values(), load(path).sections.values()))
