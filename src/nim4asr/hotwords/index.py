"""Names that can be found by their sound: a large database, shared, under a small list that changes at any time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.hotwords.database import (
    Built,
    Database,
    Pronounced,
    assemble,
    is_database,
    load,
    pronounce_all,
    pronounce_name,
    save,
)
from nim4asr.hotwords.names import Name, Problem, read_names
from nim4asr.hotwords.search import Match, SearchConfig, Walk, certain, toneless_costs

Array = NDArray[Any]

FRAME_SECONDS = 0.04


@dataclass(frozen=True)
class Hit:
    """A name that was heard from ``start`` to ``end`` seconds.

    ``score`` in (0, 1] is exp(-cost / phonemes): 1 on the phoneme head's best path. ``tones`` says whether its tones
    were within the search's allowance too.
    """

    text: str
    start: float
    end: float
    score: float
    tones: bool
    phonemes: int
    weight: float = 1.0
    category: str = ""


def build(
    lists: Iterable[Path],
    workers: int | None = None,
    progress: Callable[[Iterable[Any]], Iterator[Any]] = iter,
) -> tuple[Database, Built]:
    """A database of the names in files, pronounced on all cores.

    A text that comes again is reported and left out. A name without a pronunciation is reported and kept, though
    nothing will find it. Raises ``InputError`` if a file cannot be read or no name is in them.
    """
    problems: list[Problem] = []
    seen: set[str] = set()

    def once() -> Iterator[tuple[str, int, Name]]:
        for path in lists:
            for line, one in read_names(path):
                if isinstance(one, Problem):
                    problems.append(one)
                elif one.text in seen:
                    problems.append(Problem(str(path), line, f"{one.text!r} is there already"))
                else:
                    seen.add(one.text)
                    yield str(path), line, one

    names: list[Pronounced] = []
    for source, line, one, reason in progress(pronounce_all(once(), workers)):
        names.append(one)
        if reason:
            problems.append(Problem(source, line, reason))
    if not names:
        raise InputError("there is no name in the lists")
    database = assemble(names)
    silent = sum(not one.said for one in names)
    order = sorted(problems, key=lambda problem: (problem.source, problem.line))
    return database, Built(len(names), len(database.owner), silent, tuple(order))


class HotwordIndex:
    """What to listen for: databases, names added since, and names removed since.

    ``HotwordIndex.load("names.db")`` opens a database or reads a list. An index laid over another one's
    databases shares them.
    """

    def __init__(self, databases: Sequence[Database] = (), config: SearchConfig | None = None) -> None:
        self.databases = tuple(databases)
        self.config = config or SearchConfig()
        self._added: dict[str, Pronounced] = {}
        self._removed: set[str] = set()

    @classmethod
    def load(cls, path: str | Path, config: SearchConfig | None = None) -> "HotwordIndex":
        """Of a database, or of a list of names, which is then pronounced. Raises ``InputError`` for neither."""
        path = Path(path)
        if is_database(path):
            return cls([load(path)], config)
        index = cls(config=config)
        found = [one for _, one in read_names(path) if isinstance(one, Name)]
        if not found:
            raise InputError(f"{path}: there is no name in the list")
        index.add(found)
        return index

    def over(self) -> "HotwordIndex":
        """An index with the same names, to which others can be added and removed without changing this one."""
        above = HotwordIndex(self.databases, self.config)
        above._added, above._removed = dict(self._added), set(self._removed)
        return above

    def add(self, names: Iterable[Name]) -> list[str]:
        """Listen for more names, at once; returns why some of them will never be heard."""
        silent = []
        for name in names:
            one, reason = pronounce_name(name)
            self._added[name.text] = one
            self._removed.discard(name.text)
            if reason:
                silent.append(reason)
        self.__dict__.pop("_layer", None)
        return silent

    def remove(self, texts: Iterable[str]) -> None:
        """Listen for these no more."""
        for text in texts:
            self._added.pop(text, None)
            self._removed.add(text)
        self.__dict__.pop("_layer", None)

    def names(self) -> Iterator[Name]:
        """Every name that is listened for, and those that cannot be heard."""
        for database in self.databases:
            for name in database.names():
                if name.text not in self._removed and name.text not in self._added:
                    yield name
        for one in self._added.values():
            yield one.name

    def save(self, path: Path) -> int:
        """Write all names as one database; returns how many. Raises ``InputError`` if it cannot be written."""
        whole = [pronounce_name(name)[0] for name in self.names()]
        save(assemble(whole), path)
        return len(whole)

    def listen(self) -> "Listener":
        """A search over frames as they come."""
        return Listener(self, [Walk(one, self.config) for one in (*self.databases, self._layer)])

    def search(self, log_probs: Array) -> list[Hit]:
        """The names in the phoneme head's log posteriors (T, phonemes) of one utterance."""
        listener = self.listen()
        listener.feed(log_probs)
        return listener.hits()

    def search_phonemes(self, phonemes: Sequence[int]) -> list[Hit]:
        """The names in a string of phonemes, table indices, that is certain; each lasts two frames."""
        return self.search(certain(phonemes))

    @cached_property
    def _layer(self) -> Database:
        return assemble(list(self._added.values()))


@dataclass
class Listener:
    """A search in progress over one utterance."""

    index: HotwordIndex
    walks: list[Walk]
    _heard: list[Array] = field(default_factory=list)

    def feed(self, log_probs: Array) -> None:
        """Hear the next log posteriors (T, phonemes)."""
        costs = toneless_costs(log_probs)
        for walk in self.walks:
            walk.feed(costs)
        self._heard.append(log_probs)

    def hits(self) -> list[Hit]:
        """The names heard so far, in order of their places; of a name that is part of a longer one, the longer."""
        if not self._heard:
            return []
        log_probs = np.concatenate(self._heard)
        toned = (log_probs.max(axis=1, keepdims=True) - log_probs).astype(np.float64)
        every = [(walk.database, match) for walk in self.walks for match in walk.matches()]
        kept = longest([match for _, match in every])
        found: dict[tuple[str, int], Hit] = {}
        for (database, match), keep in zip(every, kept, strict=True):
            if keep:
                for hit in self._hits_of(database, match, toned):
                    known = found.get((hit.text, match.start))
                    if known is None or (hit.tones, hit.score) > (known.tones, known.score):
                        found[hit.text, match.start] = hit
        return sorted(found.values(), key=lambda hit: (hit.start, -hit.score, hit.text))

    def _hits_of(self, database: Database, match: Match, toned: Array) -> Iterator[Hit]:
        config = self.index.config
        allowed = config.slack + config.rate * match.phonemes
        place = toned[match.start : match.end]
        for pronunciation in range(int(database.ends[match.node]), int(database.ends[match.node + 1])):
            name = int(database.owner[pronunciation])
            text = database.text(name)
            hidden = text in self.index._removed or (
                text in self.index._added and database in self.index.databases
            )
            if not hidden:
                said = np.array(database.said(pronunciation), np.int64)
                yield Hit(
                    text,
                    match.start * FRAME_SECONDS,
                    match.end * FRAME_SECONDS,
                    float(np.exp(-match.cost / match.phonemes)),
                    bool(_alignment_cost(place, said) <= allowed + 1e-6),
                    match.phonemes,
                    database.weight(name),
                    database.category(name),
                )


def longest(matches: Sequence[Match], margin: float = 0.2) -> list[bool]:
    """Which matches stay: those not inside a longer one, unless they fit better by ``margin`` nats a phoneme."""
    order = sorted(matches, key=lambda m: -m.phonemes)
    covers: dict[Match, bool] = {}
    for place, match in enumerate(order):
        mean = match.cost / match.phonemes
        covers[match] = not any(
            other.phonemes > match.phonemes
            and other.start <= match.start
            and match.end <= other.end
            and other.cost / other.phonemes <= mean + margin
            for other in order[:place]
        )
    return [covers[match] for match in matches]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _alignment_cost(costs: Array, labels: Array) -> float:
    """The least cost of ``labels`` (N,) over all of ``costs`` (T, phonemes), by CTC's rules."""
    states = 2 * len(labels) + 1
    best = np.full(states, np.inf)
    best[1] = costs[0, labels[0]]
    for t in range(1, len(costs)):
        for state in range(states - 1, -1, -1):
            here = best[state]
            if state > 0:
                here = min(here, best[state - 1])
            if state > 2 and state % 2 == 1 and labels[state // 2] != labels[state // 2 - 1]:
                here = min(here, best[state - 2])
            best[state] = here + (costs[t, 0] if state % 2 == 0 else costs[t, labels[state // 2]])
    return float(min(best[states - 1], best[states - 2]))
