"""Pronunciations of lists of names, on all cores."""

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from nim4asr.hotwords.names import LONGEST_KEY, Name, say
from nim4asr.phonemes import TABLE
from nim4asr.processes import parallel_map

_BATCH = 4000


@dataclass(frozen=True)
class Pronounced:
    """A name with its pronunciations, each as ``packed``; none if it has no sound."""

    name: Name
    pronunciations: tuple[bytes, ...]


def packed(phonemes: Iterable[int]) -> bytes:
    """Table indices, two bytes each: there may be millions of them, which go between processes."""
    return array("H", phonemes).tobytes()


def pronounce_all(
    names: Iterable[tuple[str, int, Name]], workers: int | None = None
) -> Iterator[tuple[str, int, Pronounced, str]]:
    """Each (source, line, name) with its pronunciations, and why it has none if so; on all cores."""
    waiting: deque[list[tuple[str, int, Name]]] = deque()

    def asked() -> Iterator[list[tuple[str, tuple[tuple[str, ...], ...]]]]:
        # What goes between processes is plain and short: copying it takes time too.
        for batch in _batches(names):
            waiting.append(batch)
            yield [(name.text, name.pronunciations) for *_, name in batch]

    for answers in parallel_map(_pronounce_batch, asked(), workers):
        for (source, line, name), (said, why) in zip(waiting.popleft(), answers, strict=True):
            yield source, line, Pronounced(name, said), why


def _batches(items: Iterable[tuple[str, int, Name]]) -> Iterator[list[tuple[str, int, Name]]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _pronounce_batch(
    batch: list[tuple[str, tuple[tuple[str, ...], ...]]],
) -> list[tuple[tuple[bytes, ...], str]]:
    said = (pronounce_name(Name(text, given)) for text, given in batch)
    return [(pronounced.pronunciations, reason) for pronounced, reason in said]


def pronounce_name(name: Name) -> tuple[Pronounced, str]:
    """A name with its pronunciations, or with none and the reason."""
    try:
        said = [packed(TABLE.encode(phonemes)) for phonemes in say(name)]
    except ValueError as error:
        return Pronounced(name, ()), str(error)
    short = tuple(key for key in dict.fromkeys(said) if len(key) <= 2 * LONGEST_KEY)
    return Pronounced(name, short), "" if short else f"{name.text!r} is longer than {LONGEST_KEY} phonemes"
