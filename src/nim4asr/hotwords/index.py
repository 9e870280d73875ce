"""Names that can be found by their sound: a large database, shared, under a small list that changes at any
time.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.files import temporary_folder
from nim4asr.hotwords.building import Built, assemble
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.evidence import KERNELS as WEIGHING
from nim4asr.hotwords.evidence import weigh
from nim4asr.hotwords.hints import Hit
from nim4asr.hotwords.names import Name, Problem, read_names
from nim4asr.hotwords.pronouncing import Pronounced, pronounce_all, pronounce_name
from nim4asr.hotwords.search import KERNELS as WALKING
from nim4asr.hotwords.search import SearchConfig, TrieSearch, certain, toneless_costs
from nim4asr.hotwords.storage import is_database, load, save
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.progress import ProgressReporter, no_progress

Array = NDArray[Any]
# About what a phoneme of running speech lasts; in a string of phonemes it has two frames.
PHONEME_S = 0.08


def build(
    lists: Iterable[Path],
    workers: int | None = None,
    progress: ProgressReporter = no_progress,
) -> tuple[Database, Built]:
    """A database of the names in files, pronounced on all cores.

    A text that comes again is reported and left out. A name without a pronunciation is reported and kept,
    though nothing will find it. Raises ``InputError`` if a file cannot be read or no name is in them.
    """
    problems: list[Problem] = []
    seen: set[str] = set()

    def once() -> Iterator[tuple[str, int, Name]]:
        for path in lists:
            for line, name in read_names(path):
                if isinstance(name, Problem):
                    problems.append(name)
                elif name.text in seen:
                    problems.append(Problem(str(path), line, f"{name.text!r} is there already"))
                else:
                    seen.add(name.text)
                    yield str(path), line, name

    names: list[Pronounced] = []
    for source, line, pronounced, reason in progress(pronounce_all(once(), workers), "pronouncing"):
        names.append(pronounced)
        if reason:
            problems.append(Problem(source, line, reason))
    if not names:
        raise InputError("there is no name in the lists")
    database = assemble(names)
    unpronounceable = sum(not name.pronunciations for name in names)
    order = sorted(problems, key=lambda problem: (problem.source, problem.line))
    return database, Built(len(names), len(database.owner), unpronounceable, tuple(order))


def warm_up() -> None:
    """Compile the search now, where numba is installed, rather than when that pays: it takes a quarter of a
    minute.
    """
    for kernels in (WALKING, WEIGHING):
        kernels.compile_now = True
    index = HotwordIndex()
    index.add([Name("北京")])
    phonemes = TABLE.encode(pronounce("北京"))
    index.search_phonemes(phonemes)
    # As a database in a file has them: mapped, and read-only. Without a place for one, the first has to wait.
    with suppress(InputError), temporary_folder() as folder:
        path = folder / "one.db"
        index.save(path)
        HotwordIndex.load(path).search_phonemes(phonemes)


@dataclass(frozen=True, eq=False)
class _Changes:
    """Names added to databases, and removed from them. Never changed: who searches keeps those that he began
    with.
    """

    added: Mapping[str, Pronounced] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    @cached_property
    def layer(self) -> Database:
        """The names added."""
        return assemble(list(self.added.values()))


class HotwordIndex:
    """What to listen for: databases, names added since, and names removed since.

    ``HotwordIndex.load("names.db")`` opens a database or reads a list. An index over another one's
    databases shares them. Names may be added and removed while others search, in any thread: whoever listens
    already goes on with the names that there were.
    """

    def __init__(
        self,
        databases: Sequence[Database] = (),
        config: SearchConfig | None = None,
        evidence: EvidenceConfig | None = None,
    ) -> None:
        self.databases = tuple(databases)
        self.config = config or SearchConfig()
        self.evidence = evidence
        self._changes = _Changes()

    @classmethod
    def load(cls, path: str | Path, config: SearchConfig | None = None) -> "HotwordIndex":
        """Of a database, or of a list of names, which is then pronounced. Raises ``InputError`` for
        neither.
        """
        path = Path(path)
        if is_database(path):
            return cls([load(path)], config)
        index = cls(config=config)
        found = [name for _, name in read_names(path) if isinstance(name, Name)]
        if not found:
            raise InputError(f"{path}: there is no name in the list")
        index.add(found)
        return index

    def over(self, config: SearchConfig | None = None) -> "HotwordIndex":
        """An index with the same names, searched by ``config`` if given; to it others can be added, and names
        removed, without changing this one.
        """
        above = HotwordIndex(self.databases, config or self.config, self.evidence)
        above._changes = self._changes
        return above

    def add(self, names: Iterable[Name]) -> dict[str, str]:
        """Listen for more names, at once; returns those that will never be heard, each with the reason.

        Raises ``InputError`` for what is no ``Name``.
        """
        unpronounceable = {}
        added: dict[str, Pronounced] = {}
        for name in names:
            if not isinstance(name, Name):
                raise InputError(f"{name!r} is no Name; give Name({str(name)!r})")
            added[name.text], reason = pronounce_name(name)
            if reason:
                unpronounceable[name.text] = reason
        before = self._changes
        self._changes = _Changes({**before.added, **added}, before.removed - added.keys())
        return unpronounceable

    def remove(self, texts: Iterable[str]) -> None:
        """Listen for these no more."""
        if isinstance(texts, str):
            raise InputError(f"names are removed by a list of texts, not by one; give [{texts!r}]")
        gone, before = set(texts), self._changes
        added = {text: pronounced for text, pronounced in before.added.items() if text not in gone}
        self._changes = _Changes(added, before.removed | gone)

    def texts(self) -> Iterator[str]:
        """The text of every name."""
        changes = self._changes
        for database in self.databases:
            for name in range(len(database)):
                text = database.text(name)
                if text not in changes.removed and text not in changes.added:
                    yield text
        yield from changes.added

    def save(self, path: Path) -> int:
        """Write all names as one database; returns how many. Raises ``InputError`` if it cannot be
        written.
        """
        whole = list(self._pronounced())
        save(assemble(whole), path)
        return len(whole)

    def verify(self) -> None:
        """Check what lies in files now, rather than at the first search. Raises ``InputError`` if it is
        damaged.
        """
        for database in self.databases:
            _ = database.sections

    def listen(self, frame_s: float, evidence: EvidenceConfig | None = None) -> "HotwordSearch":
        """A search over frames of ``frame_s`` seconds as they come; ``evidence`` is the model's, for an index
        without one of its own.
        """
        return HotwordSearch(self, self.config, frame_s, evidence)

    def search(self, log_probs: Array, frame_s: float, evidence: EvidenceConfig | None = None) -> list[Hit]:
        """The names in log posteriors (T, phonemes) of one utterance; the rest as in ``listen``."""
        listener = self.listen(frame_s, evidence)
        listener.feed(log_probs)
        return listener.hits()

    def search_phonemes(self, phonemes: Sequence[int]) -> list[Hit]:
        """The names in a string of phonemes, table indices, that is certain, each of ``PHONEME_S`` seconds.

        All of them: here no name is too short.
        """
        listener = HotwordSearch(self, replace(self.config, min_log_odds=-math.inf), PHONEME_S / 2)
        listener.feed(certain(phonemes))
        return listener.hits()

    def __len__(self) -> int:
        return sum(len(database) for database in self.databases) + len(self._changes.added)

    def _pronounced(self) -> Iterator[Pronounced]:
        changes = self._changes
        for database in self.databases:
            for pronounced in database.pronounced():
                if pronounced.name.text not in changes.removed and pronounced.name.text not in changes.added:
                    yield pronounced
        yield from changes.added.values()

    def hides(self, database: Database, text: str) -> bool:
        """Whether a name of the database is removed here, or said in another way."""
        changes = self._changes
        return text in changes.removed or (text in changes.added and database in self.databases)

    @property
    def layer(self) -> Database:
        """The names added here."""
        return self._changes.layer


class HotwordSearch:
    """A search in progress over one utterance, in frames of ``frame_s`` seconds."""

    def __init__(
        self,
        index: HotwordIndex,
        config: SearchConfig,
        frame_s: float,
        evidence: EvidenceConfig | None = None,
    ) -> None:
        # Of its own: names that are added or removed meanwhile are for those who listen next.
        index = self._index = index.over()
        self._config, self._frame_s = config, frame_s
        evidence = self._evidence = index.evidence or evidence or EvidenceConfig()
        names = max(1, len(index))
        # A path with tones is hardly ever likelier than the one without: this bounds what tones can add.
        least = config.min_log_odds + evidence.list_cost(names)
        self._names = names
        self._walks = [
            TrieSearch(
                database, config, evidence.gain, evidence.trust + 2 * evidence.doubt, least - math.log(weight)
            )
            for database, weight in (
                (database, database.heaviest) for database in (*index.databases, index.layer) if len(database)
            )
        ]
        self._heard: list[Array] = []

    def feed(self, log_probs: Array) -> None:
        """Hear the next log posteriors (T, phonemes)."""
        costs = toneless_costs(log_probs)
        for walk in self._walks:
            walk.feed(costs)
        self._heard.append(log_probs)

    def hits(self) -> list[Hit]:
        """The names heard so far, in order of their places; of a name that is part of a longer one, the
        longer.
        """
        matches = [walk.found for walk in self._walks]
        if not any(map(len, matches)):
            return []
        log_probs = self._heard[0] if len(self._heard) == 1 else np.concatenate(self._heard)
        found: dict[tuple[str, int], Hit] = {}
        for walk, rows in zip(self._walks, matches, strict=True):
            database = walk.database
            weighed = weigh(rows, log_probs, database, self._evidence, self._names, self._config.min_log_odds)
            for row, pronunciation, toned, evidence in weighed.tolist():
                hit = self._hit(database, rows[int(row)], int(pronunciation), toned, evidence)
                key = (hit.text, int(rows[int(row), 1]))
                if not self._index.hides(database, hit.text) and (
                    key not in found or hit.evidence > found[key].evidence
                ):
                    found[key] = hit
        kept = longest(list(found.values()))
        return sorted(kept, key=lambda hit: (hit.start, -hit.evidence, hit.text))

    def _hit(
        self, database: Database, match: Array, pronunciation: int, toned: float, evidence: float
    ) -> Hit:
        _, start, end, cost, phonemes = match.tolist()
        name = int(database.owner[pronunciation])
        return Hit(
            database.text(name),
            start * self._frame_s,
            end * self._frame_s,
            math.exp(-cost / phonemes),
            toned <= self._config.cost_budget + self._config.cost_per_phoneme * phonemes + 1e-6,
            int(phonemes),
            evidence,
            database.weight(name),
            database.category(name),
        )


def longest(hits: Sequence[Hit], margin: float = 0.2) -> list[Hit]:
    """The hits that are not inside one of more phonemes, unless they fit better by ``margin`` nats a
    phoneme.
    """
    kept = []
    for hit in hits:
        fits = math.log(hit.score)
        covered = any(
            other.phonemes > hit.phonemes
            and other.start <= hit.start
            and hit.end <= other.end
            and math.log(other.score) >= fits - margin
            for other in hits
        )
        if not covered:
            kept.append(hit)
    return kept
