"""A database of names, as plain arrays: in memory, or mapped out of one file (``nim4asr.hotwords.storage``).

Each name has a text, a weight and a category; each pronunciation a name and its phonemes. A trie over the
toneless sounds of all pronunciations leads to them: its nodes lie level by level, so that a node's children
stand together, in the order of their labels, and pronunciations, in the order of the nodes where they end,
are in the order of their lengths too.

    children of node n           n' in  child[n] .. child[n + 1]
    sound of node n              label[n], whose highest bit says that a name ends here
    pronunciations ending at n   those p with node[p] = n
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import Pronounced
from nim4asr.phonemes import TABLE

# In a label, that a name ends at the node.
NAME_ENDS = 0x80

Array = NDArray[Any]


class Database:
    """An open database.

    ``labels`` and ``child`` are the trie's, ``roots`` (sounds,) the root's child by its sound or -1;
    ``owner`` (P,) is the name of each pronunciation, and ``node`` (P,), ascending, where it ends. ``firsts``
    are the first pronunciation that ends in each level of the trie, ``places`` where the phonemes of a level
    begin.

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
        return sum(array.nbytes for array in self._unchecked.values())

    def text(self, name: int) -> str:
        """The text of a name."""
        ends = self.sections["text_ends"]
        start = int(ends[name - 1]) if name else 0
        return bytes(self.sections["text"][start : int(ends[name])]).decode("utf-8", "replace")

    def ending(self, node: int) -> range:
        """The pronunciations that end at a node."""
        first, last = np.searchsorted(self.node, np.array([node, node + 1], self.node.dtype))
        return range(int(first), int(last))

    def phonemes(self, pronunciation: int) -> bytes:
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
            said[name].append(self.phonemes(pronunciation))
        for name, sounds in enumerate(said):
            yield Pronounced(Name(self.text(name), (), self.weight(name), self.category(name)), tuple(sounds))
