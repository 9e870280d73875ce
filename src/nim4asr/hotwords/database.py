"""A database of names, as plain arrays: in memory, or mapped out of one file (``nim4asr.hotwords.storage``).

Each name has a text, a weight and a category; each pronunciation a name and its phonemes. A trie over the
toneless sounds of all pronunciations leads to them: its nodes lie level by level, so that a node's children
stand together, in the order of their labels, and pronunciations, in the order of the nodes where they end,
are in the order of their lengths too.

    children of node n           n' in  child[n] .. child[n + 1]
    sound of node n              label[n], whose highest bit says that a name ends here
    pronunciations ending at n   those p with node[p] = n

A phoneme has two bytes, and so has a label: the table of phonemes has 256 symbols today, and may grow. What
ascends (``child``, ``node`` and where texts end) is kept as ``nim4asr.hotwords.ascending`` has it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.hotwords.ascending import first_not_below, value_at
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced, packed
from nim4asr.phonemes import TABLE

# In a label, that a name ends at the node; the rest of it is the sound.
NAME_ENDS = 0x8000
SOUND = 0x7FFF

Array = NDArray[Any]


class Database:
    """An open database.

    ``labels`` and ``child`` are the trie's, ``roots`` (sounds,) the root's child by its sound or -1;
    ``owner`` (P,) is the name of each pronunciation, and ``node`` (P,), ascending, where it ends; ``child``
    and ``node`` are each offsets and bases. ``firsts`` are the first pronunciation that ends in each level of
    the trie, ``places`` where the phonemes of a level begin.

    What lies in a file is checked when it is first asked for, by ``verify``, which raises ``InputError``:
    opening takes a millisecond, whatever the size, and nothing is followed unchecked.
    """

    def __init__(
        self,
        sections: dict[str, Array],
        categories: Sequence[str],
        verify: Callable[[], None] = lambda: None,
    ) -> None:
        for section in sections.values():
            # What is in memory is then of the same type to the compiled search as what is mapped into it.
            section.flags.writeable = False
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
    def child(self) -> tuple[Array, Array]:
        return self.sections["child"], self.sections["child_bases"]

    @property
    def owner(self) -> Array:
        return self.sections["owner"]

    @property
    def node(self) -> tuple[Array, Array]:
        return self.sections["node"], self.sections["node_bases"]

    @cached_property
    def roots(self) -> Array:
        roots = np.full(max(TABLE.toneless) + 1, -1, np.int32)
        first = np.array(self.children(0), np.int64)
        roots[self.labels[first] & np.uint16(SOUND)] = first
        return roots

    @cached_property
    def firsts(self) -> Array:
        levels = [0, 1]
        while levels[-1] < len(self.labels):
            levels.append(int(value_at(*self.child, levels[-1])))
        return np.array([first_not_below(*self.node, level) for level in levels])

    @cached_property
    def places(self) -> Array:
        counts = np.diff([*self.firsts, len(self.owner)]) * np.arange(len(self.firsts))
        return np.array([0, *np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self._unchecked["weight"])

    @property
    def nbytes(self) -> int:
        """The size of all sections."""
        return sum(array.nbytes for array in self._unchecked.values())

    def text(self, name: int) -> str:
        """The text of a name."""
        ends = self.sections["text_ends"], self.sections["text_ends_bases"]
        start = int(value_at(*ends, name - 1)) if name else 0
        return bytes(self.sections["text"][start : int(value_at(*ends, name))]).decode("utf-8", "replace")

    def children(self, node: int) -> range:
        """The children of a node."""
        return range(int(value_at(*self.child, node)), int(value_at(*self.child, node + 1)))

    def ending(self, node: int) -> range:
        """The pronunciations that end at a node."""
        return range(int(first_not_below(*self.node, node)), int(first_not_below(*self.node, node + 1)))

    def phonemes(self, pronunciation: int) -> tuple[int, ...]:
        """The phonemes of a pronunciation, tones included, as table indices."""
        length = int(np.searchsorted(self.firsts, pronunciation, side="right")) - 1
        place = int(self.places[length] + (pronunciation - self.firsts[length]) * length)
        return tuple(self.sections["said"][place : place + length].tolist())

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
            said[name].append(packed(self.phonemes(pronunciation)))
        for name, sounds in enumerate(said):
            yield Pronounced(Name(self.text(name), (), self.weight(name), self.category(name)), tuple(sounds))
