"""The file of a hotword database: written whole, mapped into memory, checked before anything in it is
followed.

    magic, length of the header, check sum of the header, header (JSON), sections

The header holds the version, a check sum of the phoneme table, the categories, and of each section its type,
length, place and check sum. The sections are the arrays of ``nim4asr.hotwords.database``, each aligned to 64
bytes.
"""

import json
import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nim4asr.errors import InputError
from nim4asr.files import atomic_file, parse_json, reason
from nim4asr.hotwords.ascending import blocks, unpack
from nim4asr.hotwords.database import SOUND, Array, Database
from nim4asr.phonemes import TABLE

MAGIC = b"NIM4HOT\x01"
VERSION = 3
_ALIGNMENT = 64


def table_fingerprint() -> int:
    """A check sum of the phoneme table, which a database is of no use without."""
    return zlib.crc32(" ".join(TABLE.symbols).encode())


def save(database: Database, path: Path) -> None:
    """Write the database as one file, which appears whole or not at all. Raises ``InputError`` if it cannot
    be.
    """
    sections = {}
    place = 0
    for name, array in database.sections.items():
        sections[name] = {
            "dtype": array.dtype.str,
            "length": len(array),
            "place": place,
            "crc": zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data if len(array) else b""),
        }
        place += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps(
        {
            "version": VERSION,
            "table": table_fingerprint(),
            "categories": database.categories,
            "sections": sections,
            "size": place,
        },
        ensure_ascii=False,
    ).encode("utf-8")
    opening = MAGIC + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(4, "little") + header
    opening += b"\0" * (-len(opening) % _ALIGNMENT)
    with atomic_file(path) as file:
        file.write(opening)
        for array in database.sections.values():
            file.write(np.ascontiguousarray(array).tobytes())
            file.write(b"\0" * (-array.nbytes % _ALIGNMENT))


def is_database(path: Path) -> bool:
    """Whether the file begins as a database does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


# What a section holds, and how many of it there are for each of what: the names, the pronunciations, the
# nodes.
_LAYOUT: dict[str, tuple[tuple[str, ...], str]] = {
    "text": (("|u1",), "bytes"),
    "text_ends": (("<u2", "<u4"), "names"),
    "text_ends_bases": (("<u4", "<i8"), "names in blocks"),
    "weight": (("<f4",), "names"),
    "category": (("|u1",), "names"),
    "owner": (("<u4",), "pronunciations"),
    "node": (("<u2", "<u4"), "pronunciations"),
    "node_bases": (("<u4",), "pronunciations in blocks"),
    "said": (("<u2",), "bytes"),
    "labels": (("<u2",), "nodes"),
    "child": (("<u2", "<u4"), "children"),
    "child_bases": (("<u4",), "children in blocks"),
}


def load(path: Path) -> Database:
    """Open a database. Its header, and where its sections lie, are checked here; the sections, by their check
    sums and laws, when they are first asked for, which reads the file once (50 ms for a million names).

    Raises ``InputError`` if it is missing, of another kind, version or phoneme table, cut short or damaged.
    """
    again = f"build it again from its lists: nim4 hotwords build LIST -o {path}"
    damaged = InputError(f"{path}: the database is cut short or damaged; {again}")
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise InputError(f"{path}: this is no hotword database; nim4 hotwords build makes one")
            length = int.from_bytes(file.read(8), "little")
            expected = int.from_bytes(file.read(4), "little")
            header = file.read(min(length, 1 << 24))
            if len(header) != length or zlib.crc32(header) != expected:
                raise damaged
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such hotword database") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the database cannot be opened ({reason(error)})") from None
    try:
        values = parse_json(header.decode("utf-8"))
        if values["version"] != VERSION:
            raise InputError(
                f"{path}: the database is of version {values['version']}, this is version {VERSION}; {again}"
            )
        if values["table"] != table_fingerprint():
            raise InputError(f"{path}: the database is of another phoneme table; {again}")
        start = -(-(len(MAGIC) + 12 + length) // _ALIGNMENT) * _ALIGNMENT
        sections = {name: _section(data, start, values["sections"][name], name) for name in _LAYOUT}
        categories = values["categories"]
        if not isinstance(categories, list) or not all(isinstance(category, str) for category in categories):
            raise damaged

        def verify() -> None:
            try:
                _check_sums(sections, values["sections"])
                _check_laws(sections, len(categories))
            except (ValueError, KeyError, TypeError, IndexError, OverflowError):
                raise damaged from None

        return Database(sections, categories, verify)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError):
        raise damaged from None


def _section(data: mmap.mmap, start: int, told: Any, name: str) -> Array:
    """One section of a file, if it can be one. Raises ``ValueError`` if not."""
    dtype, length, place = told["dtype"], told["length"], told["place"]
    if dtype not in _LAYOUT[name][0] or not isinstance(length, int) or not isinstance(place, int):
        raise ValueError(name)
    size = length * np.dtype(dtype).itemsize
    if length < 0 or place < 0 or place % _ALIGNMENT or start + place + size > len(data):
        raise ValueError(name)
    return np.frombuffer(data, dtype, length, start + place) if length else np.zeros(0, dtype)


def _check_sums(sections: Mapping[str, Array], told: Any) -> None:
    for name, array in sections.items():
        if zlib.crc32(array.view(np.uint8).data if len(array) else b"") != told[name]["crc"]:
            raise ValueError(name)


def _check_laws(sections: Mapping[str, Array], categories: int) -> None:
    """Everything that a search follows unasked: a check sum can be forged, and may be of damage.
    ``ValueError``.
    """
    counts = {"names": len(sections["weight"]), "pronunciations": len(sections["owner"])}
    counts |= {"nodes": len(sections["labels"]), "children": len(sections["labels"]) + 1}
    counts |= {f"{kind} in blocks": blocks(count) for kind, count in counts.items()}
    lengths = all(
        kind == "bytes" or len(sections[name]) == counts[kind] for name, (_, kind) in _LAYOUT.items()
    )
    if not lengths or not counts["nodes"]:
        raise ValueError("the sections are not of one database")
    child, node, ends = (
        unpack(sections[name], sections[f"{name}_bases"]) for name in ("child", "node", "text_ends")
    )
    sounds = sections["labels"] & np.uint16(SOUND)
    nodes = counts["nodes"]
    laws = (
        # Children stand behind their parents, in order, each once.
        child[0] == 1 and child[-1] == nodes and bool(np.all(child[1:] >= child[:-1])),
        bool(np.all(child[:-1] > np.arange(nodes))),
        int(sounds.max()) <= max(TABLE.toneless),
        int(sections["said"].max(initial=0)) < len(TABLE),
        # Brothers stand in the order of their sounds.
        _brothers_in_order(sounds, child),
        bool(np.all(node[1:] >= node[:-1])) and (not len(node) or int(node[-1]) < nodes),
        not len(node) or int(sections["owner"].max()) < counts["names"],
        _ends_in_order(ends, len(sections["text"])),
        not counts["names"] or int(sections["category"].max()) < categories,
        bool(np.all((sections["weight"] > 0) & (sections["weight"] < np.inf))),
    )
    if not all(laws):
        raise ValueError("the database contradicts itself")
    if Database(dict(sections), ()).places[-1] != len(sections["said"]):
        raise ValueError("the pronunciations are not as long as their nodes are deep")


def _brothers_in_order(sounds: Array, child: Array) -> bool:
    """Whether each node's children have ascending sounds, one each."""
    follows = np.ones(len(sounds), np.bool_)
    # The first child of each node, and the root, follow nobody.
    follows[child[:-1][child[:-1] < len(sounds)]] = False
    follows[0] = False
    return bool(np.all(sounds[1:][follows[1:]] > sounds[:-1][follows[1:]]))


def _ends_in_order(ends: Array, size: int) -> bool:
    return bool(np.all(ends[1:] >= ends[:-1])) and (int(ends[-1]) if len(ends) else 0) == size
