"""Builds the trie of a database from pronounced names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nim4asr.errors import InputError
from nim4asr.hotwords.ascending import pack
from nim4asr.hotwords.database import NAME_ENDS, SOUND, Array, Database
from nim4asr.hotwords.names import Problem
from nim4asr.hotwords.pronouncing import Pronounced
from nim4asr.phonemes import TABLE

# More than there can be sounds.
_RADIX = SOUND + 1


@dataclass(frozen=True)
class Built:
    """What came of a list: ``names`` are in the database, ``unpronounceable`` of them without a
    pronunciation.
    """

    names: int
    pronunciations: int
    unpronounceable: int
    problems: tuple[Problem, ...]


def assemble(names: Sequence[Pronounced]) -> Database:
    """A database in memory. Raises ``InputError`` for over 255 categories."""
    categories = sorted({entry.name.category for entry in names} | {""})
    if len(categories) > 256:
        raise InputError(f"{len(categories)} categories are too many; at most 255 can be told apart")
    number = {category: i for i, category in enumerate(categories)}
    flat = [said for entry in names for said in entry.pronunciations]
    owners = np.repeat(np.arange(len(names), dtype=np.uint32), [len(entry.pronunciations) for entry in names])
    lengths = np.array([len(said) // 2 for said in flat], np.uint8)
    # Level by level, as the trie's nodes lie, and in each in the order of the sounds: one sort for each
    # length.
    order, keys = [np.zeros(0, np.int64)], []
    places = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    whole = np.frombuffer(b"".join(flat), np.uint16)
    toneless = np.array(TABLE.toneless, np.uint16)
    for length in range(1, int(lengths.max(initial=0)) + 1):
        rows = np.flatnonzero(lengths == length)
        said = whole[places[rows][:, None] + np.arange(length)]
        sounds = toneless[said]
        # As strings of bytes they are in the order of their sounds.
        ordered = np.ascontiguousarray(sounds.astype(">u2")).view(f"S{2 * length}")
        by_sound = np.argsort(ordered.ravel(), kind="stable")
        order.append(rows[by_sound])
        keys.append(sounds[by_sound])
    labels, child, node = _trie(keys)
    sequence = np.concatenate(order)
    texts = [entry.name.text.encode("utf-8") for entry in names]
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)[1:]
    sections: dict[str, Array] = {
        "text": np.frombuffer(b"".join(texts), np.uint8),
        **_ascending("text_ends", ends),
        "weight": np.array([entry.name.weight for entry in names], np.float32),
        "category": np.array([number[entry.name.category] for entry in names], np.uint8),
        "owner": owners[sequence],
        **_ascending("node", node),
        "said": np.frombuffer(b"".join(flat[i] for i in sequence), np.uint16),
        "labels": labels,
        **_ascending("child", child),
    }
    return Database(sections, categories)


def _ascending(name: str, values: Array) -> dict[str, Array]:
    offsets, bases = pack(values)
    return {name: offsets, f"{name}_bases": bases}


def _trie(keys: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Labels and children of the nodes over ``keys``, and the node at which each key ends.

    ``keys[n - 1]`` (K, n) are the sorted keys of length n. Node 0 is the root; the nodes of a level, each the
    prefix of some key, are in the order of their prefixes.
    """
    labels = [np.zeros(1, np.uint16)]
    child: list[Array] = []
    ending = [np.zeros(0, np.int64)]
    # Where each key that is not at its end yet stands, by its length: the place of its prefix in the level.
    standing = [np.zeros(len(key), np.int64) for key in keys]
    begin, size = 0, 1
    for depth in range(1, len(keys) + 1):
        longer = keys[depth - 1 :]
        steps = np.concatenate(
            [
                place * _RADIX + key[:, depth - 1].astype(np.int64)
                for place, key in zip(standing[depth - 1 :], longer, strict=True)
            ]
        )
        prefixes = np.unique(steps)
        child.append(begin + size + np.searchsorted(prefixes, np.arange(size) * _RADIX))
        level = (prefixes % _RADIX).astype(np.uint16)
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
    return np.concatenate(labels), np.concatenate(child), nodes
