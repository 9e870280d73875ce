"""What people said, as it is written: text to train a language model on that writes capitals and punctuation.

    python -m tools.collect_spoken_text NAME=FOLDER ... -o TEXTS [--apart-from MANIFEST.jsonl ...]

``NAME`` is one of ``SOURCES`` below, each with its licence; ``FOLDER`` is a checkout of it. Every turn of a
transcript or dialogue is cut into sentences. Those stay that a recognizer could write: a whole sentence with
its punctuation and no more than 40 words or 60 Chinese characters, without brackets, addresses or the letters
of a third language. Stage directions and quotation marks are taken out, Taiwan's characters and words become
those of the mainland (``pip install -c constraints.txt opencc``). No sentence comes twice, in no source, and
what a ``dev`` utterance of the manifests says is left out.

Writes ``TEXTS/NAME.LANGUAGE.txt.gz``, a sentence a line, and ``TEXTS/README.md`` with licences and counts.
"""

import argparse
import gzip
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from tools.collect_sentences import joined_marks, said_in_dev, split_sentences

from nim4asr.errors import InputError
from nim4asr.files import atomic_file, parse_json, read_text, write_atomic
from nim4asr.phonemes.english import dictionary
from nim4asr.text.characters import HAN, is_han

Language = Literal["zh", "en"]
Turns = Iterator[str]

MOST_WORDS, MOST_CHARACTERS = 40, 60
# Of fewer words in the dictionary than this share, a sentence in Latin letters is no English.
_ENGLISH = 0.8
_DIRECTIONS = re.compile(r"\\?\[[^\]]*\]|\{[^}]*\}|(?<!\w)\([a-z ,.'-]*\)|（[^）]*）")
_LINKS = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKUP = re.compile(r"\*+|(?<!\w)_+|_+(?!\w)|[\"“”「」『』]")
_WHOLE_ENGLISH = re.compile(r"['$£€]?[A-Z0-9][A-Za-zÀ-ž0-9 ,;:.!?'$£€%&/+\-]*[.!?]")
_WHOLE_CHINESE = re.compile(rf"(?:{HAN}|[A-Za-z0-9《])(?:{HAN}|[A-Za-z0-9 ，、；：《》·%.'+\-])*[。！？]")
# Marks of half the width, beside a Chinese character, are those of the full width.
_WIDE = str.maketrans(",;:!?", "，；：！？")


@dataclass(frozen=True)
class Source:
    """Where text comes from."""

    license: str
    turns: Callable[[Path], Turns]
    """What was said in the files of a folder, a turn each."""
    conversion: str | None = None
    """OpenCC's name of the conversion to the mainland's Chinese."""
    is_bare: bool = False
    """Whether its sentences come without capitals and full stops, which are then put in."""


def speeches(folder: Path) -> Turns:
    """The paragraphs in the speeches of Akoma Ntoso debates, or of transcripts in Markdown."""
    for path in _files(folder, "*.xml"):
        text = read_text(path, "debate")
        if not text.lstrip().startswith("<"):
            # One of the archive's is Markdown under that name.
            yield from _transcript(text)
            continue
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise InputError(f"{path}: this is no XML ({error})") from None
        for paragraph in root.iterfind(".//speech/p"):
            yield "".join(paragraph.itertext())
    yield from markdown(folder)


def markdown(folder: Path, without: Sequence[str] = ()) -> Turns:
    """The paragraphs of transcripts in Markdown, their speakers' names taken off.

    Folders in ``without`` are passed over, and so are headings, quotations, tables and a folder's README.
    """
    for path in _files(folder, "*.md"):
        parts = path.relative_to(folder).parts
        if parts[0] in without or path.stem.isupper():
            continue
        yield from _transcript(read_text(path, "transcript"))


def _transcript(text: str) -> Turns:
    for line in text.splitlines():
        if not line.startswith(("#", ">", "|", "<", "!", "    ")):
            yield re.sub(r"^\*\*[^*]+\*\*:?\s*|^\s*[-*]\s+", "", line)


def spoken_values(folder: Path, keys: Sequence[str]) -> Turns:
    """The texts under ``keys`` in every ``.json`` of ``folder``, and in those in its ``.zip`` files."""
    for path in _files(folder, "*.json"):
        yield from _values(_parsed(read_text(path, "dialogue"), path), keys)
    for path in _files(folder, "*.zip"):
        try:
            with zipfile.ZipFile(path) as archive:
                for name in sorted(n for n in archive.namelist() if n.endswith(".json")):
                    yield from _values(_parsed(archive.read(name).decode(), path), keys)
        except (zipfile.BadZipFile, UnicodeDecodeError) as error:
            raise InputError(f"{path}: this archive cannot be read ({error})") from None


def commands(folder: Path) -> Turns:
    """Commands whose words are split where a slot begins or ends: ``{"data": [{"text": ...}, ...]}``."""

    def said(value: Any) -> Turns:
        if isinstance(value, dict):
            pieces = value.get("data")
            if isinstance(pieces, list) and all(isinstance(p, dict) and "text" in p for p in pieces):
                yield "".join(str(piece["text"]) for piece in pieces)
            else:
                value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from said(item)

    for path in _files(folder, "*.json"):
        # One of Snips' files is not in UTF-8.
        text = path.read_bytes().decode("utf-8", errors="replace")
        yield from said(_parsed(text, path))


def translations(folder: Path) -> Turns:
    """Both sides of Tatoeba's pairs: a sentence, a tab, its translation."""
    for path in _files(folder, "*.txt"):
        for line in read_text(path, "list of translations").splitlines():
            yield from line.split("\t")[:2]


SOURCES: Mapping[str, Source] = {
    # github.com/audreyt/archive.tw: meetings and interviews of Taiwan's minister of digital affairs.
    "archive-tw": Source("CC0-1.0", speeches, conversion="tw2sp"),
    # github.com/thechangelog/transcripts: podcasts about software; one folder is another owner's.
    "changelog": Source("CC-BY-SA-4.0", partial(markdown, without=("bigtent",))),
    # github.com/Yale-LILY/QMSum, data/ALL: meetings, AMI's and ICSI's among them, and committees.
    "qmsum": Source("MIT", partial(spoken_values, keys=("content",))),
    # github.com/google-research-datasets/Taskmaster
    "taskmaster": Source("CC-BY-4.0", partial(spoken_values, keys=("text",))),
    # github.com/google-research-datasets/dstc8-schema-guided-dialogue
    "dstc8": Source("CC-BY-SA-4.0", partial(spoken_values, keys=("utterance",))),
    # github.com/thu-coai/CrossWOZ, data
    "crosswoz": Source("Apache-2.0", partial(spoken_values, keys=("content",))),
    # github.com/thu-coai/KdConv, data
    "kdconv": Source("Apache-2.0", partial(spoken_values, keys=("message",))),
    # Tatoeba's English and Chinese pairs, cmn.txt of manythings.org/anki.
    "tatoeba": Source("CC-BY-2.0-FR", translations, conversion="t2s"),
    # github.com/snipsco/nlu-benchmark
    "snips": Source("CC0-1.0", commands, is_bare=True),
}


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def _parsed(text: str, path: Path) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path}: this is no JSON ({error})") from None


def _values(value: Any, keys: Sequence[str]) -> Turns:
    """Every string under one of ``keys``, in order, JSON within strings included."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in keys and isinstance(item, str):
                yield item
            else:
                yield from _values(item, keys)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, keys)
    elif isinstance(value, str) and value.startswith(("[{", "{")):
        try:
            yield from _values(json.loads(value), keys)
        except ValueError:
            return


def sentences(turn: str, is_bare: bool = False) -> Iterator[tuple[Language, str]]:
    """The sentences of a turn that a recognizer could write, each with its language."""
    text = _MARKUP.sub("", _DIRECTIONS.sub(" ", _LINKS.sub(r"\1", turn)))
    text = re.sub(r"[’‘ʼ]", "'", " ".join(text.split()))
    if any(map(is_han, text)):
        for sentence in re.split(r"(?<=[。！？])", _chinese_marks(text)):
            if (found := sentence.strip(" ，、；：")) and _is_chinese(found):
                yield "zh", found
        return
    if is_bare and text and text[-1].isalnum():
        text = f"{text[0].upper()}{text[1:]}."
    for sentence in split_sentences(_english_marks(text)):
        if _is_english(sentence):
            yield "en", sentence


def _chinese_marks(text: str) -> str:
    """``text`` with Chinese marks: dashes and dots of hesitation are commas."""
    text = re.sub(rf"(?<={HAN})\s*[,;:!?]|[,;:!?]\s*(?={HAN})", lambda m: m[0].strip().translate(_WIDE), text)
    text = re.sub(r"\s*(?:[—─－～~]+|-{2,}|…+|⋯+|\.{2,}|。{2,})\s*", "，", text)
    # Of several marks in a row the strongest stays.
    text = re.sub(r"[，、；：]+([。！？])|([。！？])[，、；：。！？]+", r"\1\2", text)
    text = re.sub(r"，[，、；：]+|[、；：]+，", "，", text)
    return re.sub(rf"(?<={HAN}) +(?={HAN})|(?<=[，。！？；：、]) +| +(?=[，。！？；：、])", "", text)


def _english_marks(text: str) -> str:
    """``text`` with the marks of a plain sentence: dots of hesitation and dashes are commas."""
    text = joined_marks(text)
    text = re.sub(r"\s*(?:\.{2,}|…)\s*(?=[a-z])|\s+[-–—]+\s+|\s*(?:—|--+)\s*", ", ", text)
    text = re.sub(r"\s*(?:\.{2,}|…)(?=\s|$)", ".", text)
    return re.sub(r"[,;:\s]+([,.!?])", r"\1", text)


def _is_english(sentence: str) -> bool:
    if not _WHOLE_ENGLISH.fullmatch(sentence) or re.search(r"(\w)\1{3}|www\.|\w/\w+/", sentence):
        return False
    words = re.findall(r"[A-Za-zÀ-ž]+(?:'[a-z]+)?", sentence)
    known = sum(map(_is_known, words))
    in_capitals = sum(len(word) > 1 and word.isupper() for word in words)
    return 1 <= len(words) <= MOST_WORDS and known >= _ENGLISH * len(words) and in_capitals <= len(words) / 2


@cache
def _is_known(word: str) -> bool:
    return word.lower() in dictionary()


def _is_chinese(sentence: str) -> bool:
    characters = sum(map(is_han, sentence))
    others = len(re.findall(r"[A-Za-z0-9.]+", sentence))
    return (
        _WHOLE_CHINESE.fullmatch(sentence) is not None
        and max(2, others) <= characters <= MOST_CHARACTERS
        and not re.search(r"(.)\1{3}", sentence)
    )


def collect(
    folders: Mapping[str, Path], said: Iterable[str] = ()
) -> tuple[dict[tuple[str, Language], list[str]], int]:
    """The sentences of each source and language, no sentence twice, and how many were left out because they
    are in ``said``, but for case and marks; numbers count as they are written.

    Raises ``InputError`` if a source is none of ``SOURCES``, its folder is missing, or a file in it is
    damaged.
    """
    apart = frozenset(map(_letters, said))
    seen: set[str] = set()
    found: dict[tuple[str, Language], list[str]] = {}
    left_out = 0
    for name, folder in folders.items():
        if name not in SOURCES:
            raise InputError(f"{name} is no source that is known; there are {', '.join(SOURCES)}")
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        source = SOURCES[name]
        for turn in source.turns(folder):
            if source.conversion and any(map(is_han, turn)):
                turn = _converter(source.conversion)(turn)
            for language, sentence in sentences(turn, source.is_bare):
                letters = _letters(sentence)
                if letters in seen:
                    continue
                seen.add(letters)
                if letters in apart:
                    left_out += 1
                else:
                    found.setdefault((name, language), []).append(sentence)
    return found, left_out


def _letters(sentence: str) -> str:
    """What makes two sentences the same one: letters and digits, without case."""
    return "".join(c for c in sentence.casefold() if c.isalnum())


@cache
def _converter(conversion: str) -> Callable[[str], str]:
    try:
        from opencc import OpenCC
    except ImportError:
        raise InputError("OpenCC is not installed: pip install -c constraints.txt opencc") from None
    convert: Callable[[str], str] = OpenCC(conversion).convert
    return convert


def written_size(language: Language, texts: Sequence[str]) -> int:
    """How many Chinese characters, or English words, there are in ``texts``."""
    if language == "zh":
        return sum(sum(map(is_han, text)) for text in texts)
    return sum(len(text.split()) for text in texts)


def _table(found: Mapping[tuple[str, Language], Sequence[str]]) -> str:
    rows = ["| source | language | sentences | characters or words | licence |", "|---|---|---|---|---|"]
    for (name, language), texts in found.items():
        size = written_size(language, texts)
        rows.append(f"| {name} | {language} | {len(texts):,} | {size:,} | {SOURCES[name].license} |")
    return "\n".join(rows) + "\n"


def _named_folder(argument: str) -> tuple[str, Path]:
    name, equals, folder = argument.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{argument} has no name: write NAME=FOLDER")
    return name, Path(folder)


def main() -> int:
    """Run; 0, or 2 if there is nothing to collect from."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("sources", nargs="+", type=_named_folder, metavar="NAME=FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TEXTS")
    parser.add_argument("--apart-from", nargs="*", type=Path, default=[], metavar="MANIFEST.jsonl")
    options = parser.parse_args()
    try:
        found, left_out = collect(dict(options.sources), said_in_dev(options.apart_from))
        if not found:
            raise InputError(
                "no sentence in the sources could be written by a recognizer; nothing is written"
            )
        options.output.mkdir(parents=True, exist_ok=True)
        for (name, language), texts in found.items():
            with atomic_file(options.output / f"{name}.{language}.txt.gz") as new:
                new.write(gzip.compress("".join(f"{text}\n" for text in texts).encode(), mtime=0))
        write_atomic(options.output / "README.md", table := _table(found))
    except InputError as error:
        print(f"collect_spoken_text: {error}", file=sys.stderr)
        return 2
    print(f"{table}{left_out} sentences that dev says were left out")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
