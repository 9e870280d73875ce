"""Lists of names: text, CSV and JSON lines, gzipped or not, and what is wrong with their lines."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, cast

from nim4asr.errors import InputError
from nim4asr.files import encoding_of, is_unicode, parse_json, reason
from nim4asr.phonemes import TABLE, pronunciations
from nim4asr.phonemes.mandarin import syllable
from nim4asr.text.characters import is_han
from nim4asr.text.spoken import holds_number

LONGEST_TEXT = 200
HEAVIEST = 10_000
LONGEST_KEY = 64
MOST_PRONUNCIATIONS = 4
# Of a name with digits in it, which are read in several ways in each language.
MOST_WITH_NUMBERS = 8
# What sherpa-onnx puts behind a name: a boost, a threshold, and what is printed in its place.
_SHERPA = re.compile(r"\s+(?:[:：]([+-]?\d+(?:\.\d+)?)|#(\d+(?:\.\d+)?)|@(\S+))$")
# And FunASR: a number.
_FUNASR = re.compile(r"(.*\S)(\s+)([+-]?\d+(?:\.\d+)?)")
_WEIGHT = re.compile(r"[:：]?[+-]?\d+(?:\.\d+)?")
# The weights that these have where nobody gives one.
_SHERPA_BOOST, _FUNASR_WEIGHT = 1.5, 20.0
# So many bytes, and lines, of a list tell its encoding and whether it has weights.
_BEGINNING = 1 << 20
_LINES_ASKED = 1000


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
    objects of the same keys; any other file is text, a name a line, perhaps with a weight as FunASR and
    sherpa-onnx have it (``weighted_line``). In any encoding of ``nim4asr.files.encoding_of``. Raises
    ``InputError`` if it cannot be read.
    """
    kind = (path.with_suffix("") if path.suffix == ".gz" else path).suffix
    try:
        with _opened(path) as raw:
            # Of a list of a million names, the beginning tells as well.
            start = raw.read(_BEGINNING)
            encoding = encoding_of(start)
        with _opened(path) as raw, TextIOWrapper(raw, encoding) as file:
            if kind == ".csv":
                yield from _csv(file, str(path))
            elif kind == ".jsonl":
                yield from _rows(((i, _json(line)) for i, line in enumerate(file, 1)), str(path))
            else:
                weighted = _all_weighted(start.decode(encoding, "ignore").splitlines()[:_LINES_ASKED])
                yield from _rows(
                    ((i, weighted_line(line, weighted)) for i, line in enumerate(file, 1)), str(path)
                )
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such list of names") from None
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: the names cannot be read ({reason(error)})") from None


def weighted_line(line: str, weighted: bool = False) -> dict[str, object]:
    """A line of a text list as a row: the name, and the weight that other programs' lists have behind it.

    - ``北京大学 :3.5 #0.4 @北大`` of sherpa-onnx: its boost over its usual 1.5 is the weight, the threshold
      of its keyword spotter is left out, and what it prints (``@``) is the name;
    - ``阿里巴巴 20`` of FunASR: its weight over its usual 20; behind a tab, or behind a Chinese character.
      Behind Latin letters, "Windows 10" is a name, unless ``weighted`` says that all lines of the list end so
      and some are Chinese.
    """
    text, printed = line.strip(), ""
    weight: float | None = None
    while found := _SHERPA.search(text):
        boost, _threshold, name = found.groups()
        text, printed = text[: found.start()], name or printed
        weight = weight if boost is None else float(boost) / _SHERPA_BOOST
    if printed:
        text = printed.replace("_", " ")
    elif weight is None and (number := _FUNASR.fullmatch(text)):
        name, space, value = number.groups()
        if "\t" in space or is_han(name[-1]) or weighted:
            text, weight = name, float(value) / _FUNASR_WEIGHT
    return {"text": text, "weight": weight}


def names_in(text: str) -> list[str]:
    """The names in a line of them, with commas or spaces between; a number behind a name is its weight, and
    left out: ``"阿里巴巴 20 通义实验室 30"``.
    """
    words = text.replace(",", " ").split()
    return [word for place, word in enumerate(words) if not (place and _WEIGHT.fullmatch(word))]


def _all_weighted(lines: Sequence[str]) -> bool:
    """Whether every line of a list ends in a number, and one of them is a Chinese name with a weight."""
    numbered = [_FUNASR.fullmatch(line.strip()) for line in lines if line.strip()]
    return all(numbered) and any(found is not None and is_han(found.group(1)[-1]) for found in numbered)


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def say(name: Name) -> list[tuple[str, ...]]:
    """The pronunciations of a name, likeliest first. Raises ``ValueError`` if a part of it has none."""
    if name.pronunciations:
        return list(name.pronunciations)
    most = MOST_WITH_NUMBERS if holds_number(name.text) else MOST_PRONUNCIATIONS
    said = [tuple(pronunciation) for pronunciation in pronunciations(name.text, most)]
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
