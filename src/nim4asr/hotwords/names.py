"""Lists of names: text, CSV and JSON lines, gzipped or not, and what is wrong with their lines."""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nim4asr.errors import InputError
from nim4asr.files import is_unicode, parse_json, reason
from nim4asr.phonemes import TABLE, pronunciations
from nim4asr.phonemes.mandarin import syllable

LONGEST_TEXT = 200
HEAVIEST = 10_000
LONGEST_KEY = 64
MOST_PRONUNCIATIONS = 4


@dataclass(frozen=True)
class Name:
    """A name as listed. ``pronunciations`` are pronunciations given with it, in table symbols; without any,
    all that the language has are taken. A greater ``weight`` makes a likelier hint.
    """

    text: str
    pronunciations: tuple[tuple[str, ...], ...] = ()
    weight: float = 1.0
    category: str = ""

    def __post_init__(self) -> None:
        if len(self.text) > LONGEST_TEXT:
            raise InputError(f"{len(self.text)} characters are no name; at most {LONGEST_TEXT}")
        if not is_unicode(self.text) or not is_unicode(self.category):
            raise InputError(f"{self.text!r} or its category holds code points that are no characters")
        if not 0 < self.weight < HEAVIEST:
            raise InputError(f"the weight {self.weight:g} must be positive and below {HEAVIEST:,}")


@dataclass(frozen=True)
class Problem:
    """A line that gave no name, or one that cannot be matched; ``line`` counts from 1."""

    source: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.what}"


def read_names(path: Path) -> Iterator[tuple[int, Name | Problem]]:
    """The names of a file and the lines that hold none, with their line numbers.

    ``.csv`` has a header with ``text`` and perhaps ``pronunciation``, ``weight``, ``category``; ``.jsonl``
    objects of the same keys; any other file is text, a name a line. Raises ``InputError`` if it cannot be
    read.
    """
    kind = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            if kind == ".csv":
                yield from _csv(file, str(path))
            elif kind == ".jsonl":
                yield from _rows(((i, _json(line)) for i, line in enumerate(file, 1)), str(path))
            else:
                yield from _rows(((i, {"text": line}) for i, line in enumerate(file, 1)), str(path))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such list of names") from None
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: the names cannot be read ({reason(error)})") from None


def say(name: Name) -> list[tuple[str, ...]]:
    """The pronunciations of a name, likeliest first. Raises ``ValueError`` if a part of it has none."""
    if name.pronunciations:
        return list(name.pronunciations)
    said = [tuple(pronunciation) for pronunciation in pronunciations(name.text, MOST_PRONUNCIATIONS)]
    if not said:
        raise ValueError(f"no pronunciation is known for {name.text!r}")
    return said


def parse_pronunciation(text: str) -> tuple[str, ...]:
    """Table symbols, ``"n i3 h ao3"``, or syllables of pinyin, ``"ni3 hao3"``, as table symbols.

    Raises ``ValueError`` for anything else.
    """
    symbols: list[str] = []
    for part in text.split():
        symbols += (part,) if part in TABLE.symbols[1:] else syllable(part)
    if not symbols:
        raise ValueError("an empty pronunciation")
    return tuple(symbols)


def _csv(file: Iterable[str], source: str) -> Iterator[tuple[int, Name | Problem]]:
    reader = csv.DictReader(file)
    if "text" not in (reader.fieldnames or ()):
        raise InputError(f"{source}: a CSV list of names needs a header with the column 'text'")
    yield from _rows(((reader.line_num, row) for row in reader), source)


def _json(line: str) -> Any:
    try:
        return parse_json(line) if line.strip() else {"text": ""}
    except ValueError:
        return None


def _rows(rows: Iterable[tuple[int, Any]], source: str) -> Iterator[tuple[int, Name | Problem]]:
    for line, row in rows:
        try:
            yield line, _name(row)
        except ValueError as error:
            yield line, Problem(source, line, str(error))


def _name(row: Any) -> Name:
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise ValueError("no name: an object with the key 'text' is expected")
    text = text.strip()
    if not text:
        raise ValueError("empty")
    if not any(c.isalnum() for c in text):
        raise ValueError(f"{text!r} holds no letter and no digit")
    given = row.get("pronunciation") or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise ValueError(f"{text!r}: a pronunciation is a string, or a list of them")
    said = tuple(map(parse_pronunciation, given))
    weight = row.get("weight")
    try:
        number = 1.0 if weight in (None, "") else float(weight)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{text!r}: the weight is no number") from None
    category = row.get("category") or ""
    if not isinstance(category, str):
        raise ValueError(f"{text!r}: the category must be a string")
    return Name(text, said, number, category)
