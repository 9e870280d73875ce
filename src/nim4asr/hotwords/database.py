"""A database of names in one file, mapped into memory: opened at once, shared by all that read it.

    magic, length of the header, header (JSON: version, phoneme table, sections, check sums), sections

The sections are plain arrays. Each name has a text, a weight and a category; each pronunciation a name and its
phonemes. A trie over the toneless sounds of all pronunciations leads to them: its nodes lie level by level, so that a
node's children stand together, in the order of their labels, and pronunciations, in the order of the nodes where they
end, are in the order of their lengths too.

    children of node n           n' in  child[n] .. child[n + 1]
    sound of node n              label[n], whose highest bit says that a name ends here
    pronunciations ending at n   those p with node[p] = n
"""

import json
import mmap
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.files import atomic_file, parse_json, reason
from nim4asr.hotwords.names import LONGEST_KEY, Name, Problem, say
from nim4asr.phonemes import TABLE
from nim4asr.processes import parallel_map

MAGIC = b"NIM4HOT\x01"
VERSION = 2
# In a label, that a name ends at the node.
NAME_ENDS = 0x80
_ALIGNMENT = 64
_BATCH = 4000
# More than there are sounds.
_RADIX = 256
_TONELESS = np.array(TABLE.toneless, np.uint8)

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

    ``labels`` and ``child`` are the trie's, ``roots`` (sounds,) the root's child by its sound or -1; ``owner`` (P,) is
    the name of each pronunciation, and ``node`` (P,), ascending, where it ends. ``firsts`` are the first pronunciation
    that ends in each level of the trie, ``places`` where the phonemes of a level begin.

    What lies in a file is checked when it is first asked for, by ``verify``, which raises ``InputError``: opening takes
    a millisecond, whatever the size, and nothing is followed unchecked.
    """

    def __init__(
        self,
        sections: dict[str, Array],
        categories: Sequence[str],
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        for one in sections.values():
            # What is in memory is then of the same type to the compiled search as what is mapped into it.
            one.flags.writeable = False
        self._unchecked, self._verify = sections, verify
        self.categories = tuple(categories)

    @cached_property
    def sections(self) -> Mapping[str, Array]:
        """All sections, checked. Raises ``InputError`` if they are damaged."""
        self._verify()
        return self._unchecked

    @property
    def labels(self) -> Array:
        return self.sections["labels"]

    @property
    def child(self) -> Array:
        return self.sections["child"]

    @property
    def owner(self) -> Array:
        return self.sections["owner"]

    @property
    def node(self) -> Array:
        return self.sections["node"]

    @cached_property
    def roots(self) -> Array:
        roots = np.full(max(TABLE.toneless) + 1, -1, np.int32)
        first = np.arange(int(self.child[0]), int(self.child[1]))
        roots[self.labels[first] & ~np.uint8(NAME_ENDS)] = first
        return roots

    @cached_property
    def firsts(self) -> Array:
        levels = [0, 1]
        while levels[-1] < len(self.labels):
            levels.append(int(self.child[levels[-1]]))
        return np.searchsorted(self.node, np.array(levels, self.node.dtype))

    @cached_property
    def places(self) -> Array:
        counts = np.diff([*self.firsts, len(self.node)]) * np.arange(len(self.firsts))
        return np.array([0, *np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self._unchecked["weight"])

    @property
    def nbytes(self) -> int:
        """The size of all sections."""
        return sum(one.nbytes for one in self._unchecked.values())

    def text(self, name: int) -> str:
        """The text of a name."""
        ends = self.sections["text_ends"]
        start = int(ends[name - 1]) if name else 0
        return bytes(self.sections["text"][start : int(ends[name])]).decode("utf-8", "replace")

    def ending(self, node: int) -> range:
        """The pronunciations that end at a node."""
        first, last = np.searchsorted(self.node, np.array([node, node + 1], self.node.dtype))
        return range(int(first), int(last))

    def said(self, pronunciation: int) -> bytes:
        """The phonemes of a pronunciation, tones included, as table indices."""
        length = int(np.searchsorted(self.firsts, pronunciation, side="right")) - 1
        place = int(self.places[length] + (pronunciation - self.firsts[length]) * length)
        return bytes(self.sections["said"][place : place + length])

    def weight(self, name: int) -> float:
        """The weight of a name."""
        return float(self.sections["weight"][name])

    @cached_property
    def heaviest(self) -> float:
        """The greatest weight of all names."""
        return float(self.sections["weight"].max(initial=0.0)) or 1.0

    def category(self, name: int) -> str:
        """The category of a name, or nothing."""
        return self.categories[int(self.sections["category"][name])]

    def pronounced(self) -> Iterator[Pronounced]:
        """Every name with the pronunciations it is found by."""
        said: list[list[bytes]] = [[] for _ in range(len(self))]
        for pronunciation, name in enumerate(self.owner.tolist()):
            said[name].append(self.said(pronunciation))
        for name, sounds in enumerate(said):
            yield Pronounced(Name(self.text(name), (), self.weight(name), self.category(name)), tuple(sounds))


def pronounce_all(
    names: Iterable[tuple[str, int, Name]], workers: int | None = None
) -> Iterator[tuple[str, int, Pronounced, str]]:
    """Each (source, line, name) with its pronunciations, and why it has none if so; on all cores."""
    waiting: deque[list[tuple[str, int, Name]]] = deque()

    def asked() -> Iterator[list[tuple[str, tuple[tuple[str, ...], ...]]]]:
        # What goes between processes is plain and short: copying it takes time too.
        for batch in _batches(names):
            waiting.append(batch)
            yield [(name.text, name.said) for *_, name in batch]

    for answers in parallel_map(_pronounce_batch, asked(), workers):
        for (source, line, name), (said, why) in zip(waiting.popleft(), answers, strict=True):
            yield source, line, Pronounced(name, said), why


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _pronounce_batch(
    batch: list[tuple[str, tuple[tuple[str, ...], ...]]],
) -> list[tuple[tuple[bytes, ...], str]]:
    said = (pronounce_name(Name(text, given)) for text, given in batch)
    return [(one.said, reason) for one, reason in said]


def pronounce_name(name: Name) -> tuple[Pronounced, str]:
    """A name with its pronunciations, or with none and the reason."""
    try:
        said = [bytes(TABLE.encode(one)) for one in say(name)]
    except ValueError as error:
        return Pronounced(name, ()), str(error)
    short = tuple(one for one in dict.fromkeys(said) if len(one) <= LONGEST_KEY)
    return Pronounced(name, short), "" if short else f"{name.text!r} is longer than {LONGEST_KEY} phonemes"


def assemble(names: Sequence[Pronounced]) -> Database:
    """A database in memory. Raises ``InputError`` for over 255 categories."""
    categories = sorted({one.name.category for one in names} | {""})
    if len(categories) > 256:
        raise InputError(f"{len(categories)} categories are too many; at most 255 can be told apart")
    number = {category: i for i, category in enumerate(categories)}
    flat = [said for one in names for said in one.said]
    owners = np.repeat(np.arange(len(names), dtype=np.uint32), [len(one.said) for one in names])
    lengths = np.array([len(said) for said in flat], np.uint8)
    # Level by level, as the trie's nodes lie, and in each in the order of the sounds: one sort for each length.
    order, keys = [np.zeros(0, np.int64)], []
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    whole = np.frombuffer(b"".join(flat), np.uint8)
    for length in range(1, int(lengths.max(initial=0)) + 1):
        rows = np.flatnonzero(lengths == length)
        said = whole[places[rows][:, None] + np.arange(length)]
        sounds = np.ascontiguousarray(_TONELESS[said])
        by_sound = np.argsort(sounds.view(f"S{length}").ravel(), kind="stable")
        order.append(rows[by_sound])
        keys.append(sounds[by_sound])
    labels, child, node = _trie(keys)
    sequence = np.concatenate(order)
    texts = [one.name.text.encode("utf-8") for one in names]
    sections: dict[str, Array] = {
        "text": np.frombuffer(b"".join(texts), np.uint8),
        "text_ends": _ends(texts),
        "weight": np.array([one.name.weight for one in names], np.float32),
        "category": np.array([number[one.name.category] for one in names], np.uint8),
        "owner": owners[sequence],
        "node": node,
        "said": np.frombuffer(b"".join(flat[i] for i in sequence), np.uint8),
        "labels": labels,
        "child": child,
    }
    return Database(sections, categories)


def _ends(parts: Sequence[bytes]) -> Array:
    ends = np.cumsum([len(part) for part in parts], dtype=np.int64) if parts else np.zeros(0, np.int64)
    return ends.astype(np.uint32) if not len(ends) or ends[-1] < 2**32 else ends


def _trie(keys: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Labels and children of the nodes over ``keys``, and the node at which each key ends.

    ``keys[n - 1]`` (K, n) are the sorted keys of length n. Node 0 is the root; the nodes of a level, each the
    prefix of some key, are in the order of their prefixes.
    """
    labels = [np.zeros(1, np.uint8)]
    child: list[Array] = []
    ending = [np.zeros(0, np.int64)]
    # Where each key that is not at its end yet stands, by its length: the place of its prefix in the level.
    standing = [np.zeros(len(one), np.int64) for one in keys]
    begin, size = 0, 1
    for depth in range(1, len(keys) + 1):
        longer = keys[depth - 1 :]
        steps = np.concatenate(
            [
                place * _RADIX + one[:, depth - 1]
                for place, one in zip(standing[depth - 1 :], longer, strict=True)
            ]
        )
        prefixes = np.unique(steps)
        child.append(begin + size + np.searchsorted(prefixes, np.arange(size) * _RADIX))
        level = (prefixes % _RADIX).astype(np.uint8)
        begin, size = begin + size, len(prefixes)
        done = 0
        for length in range(depth, len(keys) + 1):
            count = len(keys[length - 1])
            standing[length - 1] = np.searchsorted(prefixes, steps[done : done + count])
            done += count
        ends = standing[depth - 1]
        level[ends] |= NAME_ENDS
        ending.append(begin + ends)
        labels.append(level)
    child.append(np.full(size + 1, begin + size))
    nodes = np.concatenate(ending)
    return np.concatenate(labels), np.concatenate(child).astype(np.uint32), nodes.astype(np.uint32)


def save(database: Database, path: Path) -> None:
    """Write the database as one file, which appears whole or not at all. Raises ``InputError`` if it cannot be."""
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


# What a section holds, and how many of it there are for each of what: the names, the pronunciations, the nodes.
_LAYOUT: dict[str, tuple[tuple[str, ...], str]] = {
    "text": (("|u1",), "bytes"),
    "text_ends": (("<u4", "<i8"), "names"),
    "weight": (("<f4",), "names"),
    "category": (("|u1",), "names"),
    "owner": (("<u4",), "pronunciations"),
    "node": (("<u4",), "pronunciations"),
    "said": (("|u1",), "bytes"),
    "labels": (("|u1",), "nodes"),
    "child": (("<u4",), "children"),
}


def load(path: Path) -> Database:
    """Open a database. Its header, and where its sections lie, are checked here; the sections, by their check sums and
    laws, when they are first asked for, which reads the file once (50 ms for a million names).

    Raises ``InputError`` if it is missing, of another kind, version or phoneme table, cut short or damaged.
    """
    damaged = InputError(f"{path}: the database is cut short or damaged; build it again")
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
            raise InputError(f"{path}: the database is of version {values['version']}; build it again")
        if values["table"] != table_fingerprint():
            raise InputError(f"{path}: the database is of another phoneme table; build it again")
        start = -(-(len(MAGIC) + 12 + length) // _ALIGNMENT) * _ALIGNMENT
        sections = {name: _section(data, start, values["sections"][name], name) for name in _LAYOUT}
        categories = values["categories"]
        if not isinstance(categories, list) or not all(isinstance(one, str) for one in categories):
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
    """Everything that a search follows unasked: a check sum can be forged, and may be of damage. ``ValueError``."""
    counts = {"names": len(sections["weight"]), "pronunciations": len(sections["owner"])}
    counts |= {"nodes": len(sections["labels"]), "children": len(sections["labels"]) + 1}
    lengths = all(
        kind == "bytes" or len(sections[name]) == counts[kind] for name, (_, kind) in _LAYOUT.items()
    )
    if not lengths or not counts["nodes"]:
        raise ValueError("the sections are not of one database")
    labels, child, node = sections["labels"], sections["child"], sections["node"]
    sounds = labels & ~np.uint8(NAME_ENDS)
    nodes = counts["nodes"]
    # Of the phonemes any byte is one: the table has 256.
    laws = (
        # Children stand behind their parents, in order, each once.
        child[0] == 1 and child[-1] == nodes and bool(np.all(child[1:] >= child[:-1])),
        bool(np.all(child[:-1] > np.arange(nodes))),
        int(sounds.max()) <= max(TABLE.toneless),
        # Brothers stand in the order of their sounds.
        _brothers_in_order(sounds, child),
        bool(np.all(node[1:] >= node[:-1])) and (not len(node) or int(node[-1]) < nodes),
        not len(node) or int(sections["owner"].max()) < counts["names"],
        _ends_in_order(sections["text_ends"], len(sections["text"])),
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
