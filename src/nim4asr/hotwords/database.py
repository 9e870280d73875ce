"""A database of names in one file, mapped into memory: opened at once, shared by all that read it.

    magic, length of the header, header (JSON: version, phoneme table, sections, check sums), sections

The sections are plain arrays. Each name has a text, a weight and a category; each pronunciation a name and its
phonemes. A trie over the toneless phonemes of all pronunciations leads to them: its nodes lie level by level, so that a
node's children, in the order of their labels, and the pronunciations that end at a node stand together.

    children of node n         n' in  child[n] .. child[n + 1],  with label[n']
    pronunciations ending at n p in   ends[n] .. ends[n + 1]
"""

import json
import mmap
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.hotwords.names import LONGEST_KEY, Name, Problem, say
from nim4asr.phonemes import TABLE

MAGIC = b"NIM4HOT\x01"
VERSION = 1
_ALIGNMENT = 64
_BATCH = 4000

Item = TypeVar("Item")
Progress = Callable[[Iterable[Item]], Iterator[Item]]
Array = NDArray[Any]


def table_fingerprint() -> int:
    """A check sum of the phoneme table, which a database is of no use without."""
    return zlib.crc32(" ".join(TABLE.symbols).encode())


@dataclass(frozen=True)
class Pronounced:
    """A name with its pronunciations, as table indices; none if it has no sound."""

    name: Name
    said: tuple[bytes, ...]


@dataclass(frozen=True)
class Built:
    """What came of a list: ``names`` are in the database, ``silent`` of them without a pronunciation."""

    names: int
    pronunciations: int
    silent: int
    problems: tuple[Problem, ...]


class Database:
    """An open database.

    ``labels``, ``child``, ``ends`` are the trie's; ``owner`` (P,) is the name of each pronunciation.
    """

    def __init__(self, sections: dict[str, Array], categories: Sequence[str]) -> None:
        self._sections = sections
        self.categories = tuple(categories)
        self.labels: Array = sections["labels"]
        self.child: Array = sections["child"]
        self.ends: Array = sections["ends"]
        self.owner: Array = sections["owner"]

    def __len__(self) -> int:
        return len(self._sections["weight"])

    @property
    def nbytes(self) -> int:
        """The size of all sections."""
        return sum(one.nbytes for one in self._sections.values())

    def text(self, name: int) -> str:
        """The text of a name."""
        return bytes(self._slice("text", name)).decode("utf-8")

    def said(self, pronunciation: int) -> tuple[int, ...]:
        """The phonemes of a pronunciation, tones included, as table indices."""
        return tuple(self._slice("said", pronunciation).tolist())

    def weight(self, name: int) -> float:
        """The weight of a name."""
        return float(self._sections["weight"][name])

    def category(self, name: int) -> str:
        """The category of a name, or nothing."""
        return self.categories[int(self._sections["category"][name])]

    def names(self) -> Iterator[Name]:
        """Every name, with the pronunciations it is found by."""
        said: list[list[tuple[str, ...]]] = [[] for _ in range(len(self))]
        for pronunciation, name in enumerate(self.owner.tolist()):
            said[name].append(tuple(TABLE.decode(self.said(pronunciation))))
        for name in range(len(self)):
            yield Name(self.text(name), tuple(said[name]), self.weight(name), self.category(name))

    def _slice(self, section: str, index: int) -> Array:
        ends = self._sections[f"{section}_ends"]
        start = int(ends[index - 1]) if index else 0
        found: Array = self._sections[section][start : int(ends[index])]
        return found


def pronounce_all(
    names: Iterable[tuple[str, int, Name]], workers: int | None = None
) -> Iterator[tuple[str, int, Pronounced, str]]:
    """Each (source, line, name) with its pronunciations, and why it has none if so; on all cores."""
    with ProcessPoolExecutor(workers) as pool:
        yield from (one for batch in pool.map(_pronounce_batch, _batches(names)) for one in batch)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _pronounce_batch(batch: list[tuple[str, int, Name]]) -> list[tuple[str, int, Pronounced, str]]:
    return [(source, line, *pronounce_name(name)) for source, line, name in batch]


def pronounce_name(name: Name) -> tuple[Pronounced, str]:
    """A name with its pronunciations, or with none and the reason."""
    try:
        said = [bytes(TABLE.encode(one)) for one in say(name)]
    except ValueError as error:
        return Pronounced(name, ()), str(error)
    short = tuple(one for one in dict.fromkeys(said) if len(one) <= LONGEST_KEY)
    return Pronounced(name, short), "" if short else f"{name.text!r} is longer than {LONGEST_KEY} phonemes"


def assemble(names: Sequence[Pronounced]) -> Database:
    """A database in memory."""
    toneless = np.array(TABLE.toneless, np.uint8)
    owners = np.array([i for i, one in enumerate(names) for _ in one.said], np.uint32)
    flat = [said for one in names for said in one.said]
    keys = np.zeros(len(flat), f"S{LONGEST_KEY}")
    if flat:
        lengths = np.array([len(said) for said in flat])
        sounds = toneless[np.frombuffer(b"".join(flat), np.uint8)]
        matrix = keys.view(np.uint8).reshape(len(flat), LONGEST_KEY)
        matrix[np.arange(LONGEST_KEY) < lengths[:, None]] = sounds
    order = np.argsort(keys, kind="stable")
    labels, child, ends, last = _trie(keys[order])
    # By the node where they end, so that those of one node stand together.
    order = order[np.argsort(last, kind="stable")]
    categories = sorted({one.name.category for one in names} | {""})
    if len(categories) > 256:
        raise InputError(f"{len(categories)} categories are too many; at most 255 can be told apart")
    number = {category: i for i, category in enumerate(categories)}
    texts = [one.name.text.encode("utf-8") for one in names]
    sections: dict[str, Array] = {
        "text": np.frombuffer(b"".join(texts), np.uint8),
        "text_ends": _ends(texts),
        "weight": np.array([one.name.weight for one in names], np.float16),
        "category": np.array([number[one.name.category] for one in names], np.uint8),
        "owner": owners[order],
        "said": np.frombuffer(b"".join(flat[i] for i in order), np.uint8),
        "said_ends": _ends([flat[i] for i in order]),
        "labels": labels,
        "child": child,
        "ends": ends,
    }
    return Database(sections, categories)


def _ends(parts: Sequence[bytes]) -> Array:
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64) if parts else np.zeros(0, np.int64)
    return ends.astype(np.uint32) if not len(ends) or ends[-1] < 2**32 else ends


def _trie(keys: Array) -> tuple[Array, Array, Array, Array]:
    """Labels, children and ends of the nodes over sorted ``keys``, and the node at which each key ends.

    Node 0 is the root. A node stands for a prefix; it is new at the first key that has it.
    """
    count = len(keys)
    matrix = (
        keys.view(np.uint8).reshape(count, LONGEST_KEY) if count else np.zeros((0, LONGEST_KEY), np.uint8)
    )
    lengths = (matrix != 0).sum(axis=1)
    differs = np.ones((count, LONGEST_KEY), bool)
    differs[1:] = matrix[1:] != matrix[:-1]
    # The first place at which a key differs from the one before it.
    shared = np.where(differs.any(axis=1), differs.argmax(axis=1), LONGEST_KEY)
    shared[:1] = 0
    labels = [np.zeros(1, np.uint8)]
    firsts = [np.zeros(1, np.int64)]
    sizes = [1]
    last = np.zeros(count, np.int64)
    begin = 1
    for depth in range(int(lengths.max(initial=0))):
        new = (lengths > depth) & (shared <= depth)
        rows = np.flatnonzero(new)
        labels.append(matrix[rows, depth])
        firsts.append(rows)
        sizes.append(len(rows))
        done = np.flatnonzero(lengths == depth + 1)
        last[done] = begin + np.searchsorted(rows, done, side="right") - 1
        begin += len(rows)
    child: list[Array] = []
    begin = 1
    for above, below in zip(firsts, [*firsts[1:], np.zeros(0, np.int64)], strict=True):
        child.append(begin + np.searchsorted(below, above))
        begin += len(below)
    nodes = sum(sizes)
    children = np.concatenate([*child, [nodes]])
    # The next node's first child ends this one's, across levels too, because levels follow one another.
    ends = (
        np.concatenate([[0], np.cumsum(np.bincount(last, minlength=nodes))]) if count else np.zeros(nodes + 1)
    )
    return (
        np.concatenate(labels),
        children.astype(np.uint32),
        ends.astype(np.uint32),
        last,
    )


def save(database: Database, path: Path) -> None:
    """Write the database as one file, which appears whole or not at all. Raises ``InputError`` if it cannot be."""
    sections = {}
    place = 0
    for name, array in database._sections.items():
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
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(opening)
            for array in database._sections.values():
                file.write(np.ascontiguousarray(array).tobytes())
                file.write(b"\0" * (-array.nbytes % _ALIGNMENT))
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise InputError(f"{path}: the database cannot be written ({error.strerror})") from None


def is_database(path: Path) -> bool:
    """Whether the file begins as a database does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def load(path: Path, verify: bool = False) -> Database:
    """Open a database; ``verify`` reads all of it and compares the check sums.

    Raises ``InputError`` if it is missing, of another kind, version or phoneme table, cut short or damaged.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise InputError(f"{path}: this is no hotword database; nim4 hotwords build makes one")
            length = int.from_bytes(file.read(8), "little")
            expected = int.from_bytes(file.read(4), "little")
            header = file.read(min(length, 1 << 24))
            if len(header) != length or zlib.crc32(header) != expected:
                raise InputError(f"{path}: the database is cut short or damaged; build it again")
            values = json.loads(header)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such hotword database") from None
    except OSError as error:
        raise InputError(f"{path}: the database cannot be opened ({error.strerror})") from None
    if values["version"] != VERSION:
        raise InputError(f"{path}: the database is of version {values['version']}; build it again")
    if values["table"] != table_fingerprint():
        raise InputError(f"{path}: the database is of another phoneme table; build it again")
    start = -(-(len(MAGIC) + 12 + length) // _ALIGNMENT) * _ALIGNMENT
    if len(data) < start + values["size"]:
        raise InputError(f"{path}: the database is cut short; build it again")
    sections: dict[str, Array] = {}
    for name, one in values["sections"].items():
        sections[name] = np.frombuffer(data, one["dtype"], one["length"], start + one["place"])
        if verify and zlib.crc32(sections[name].view(np.uint8).data if one["length"] else b"") != one["crc"]:
            raise InputError(f"{path}: the section {name!r} of the database is damaged; build it again")
    return Database(sections, values["categories"])
