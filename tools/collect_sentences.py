"""Short English sentences out of articles: text to train a small language model on, a sentence a line.

    python tools/collect_sentences.py SOURCE... -o SENTENCES.txt.gz [--apart-from MANIFEST.jsonl ...]

A source is a file or a folder of files: of a ``.json`` every string in it, of a ``.tsv`` every column, of
anything else every line is a paragraph. Sentences are kept that anyone can read aloud in one breath: of 4 to
14 words that the pronunciation dictionary knows, without digits, brackets or foreign letters. Three of a
paragraph at most, drawn by lot: articles repeat themselves. What a ``dev`` utterance of the manifests says is
left out.
"""

import argparse
import gzip
import random
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nim4asr.data.manifest import read_manifest
from nim4asr.errors import InputError
from nim4asr.files import atomic_file, parse_json, read_text
from nim4asr.phonemes.english import dictionary
from nim4asr.text.normalization import normalize

# Marks that tokenizers of corpora leave behind: "the town 's mayor does n't", "Smith , who", "'' title ''".
_TOKENIZED = ((r"\s+(n't|'(?:s|re|ve|ll|d|m)\b)", r"\1"), (r"\s+([,.;:!?])", r"\1"), (r"@(-)@|''|``", r"\1"))
# <::::> stands between the sentences that one was split into.
_COLUMNS = r"\t|<::::>"
# A full stop after a single letter or a title ends no sentence.
_BETWEEN = r"(?<=[a-z][a-z][.!?])(?<!Mr\.)(?<!Dr\.)(?<!St\.)\s+(?=[A-Z\"'])"


@dataclass(frozen=True)
class SentenceFilter:
    """Which sentences stay."""

    words: tuple[int, int] = (4, 14)
    per_paragraph: int = 3

    def sentences(self, paragraph: str) -> list[str]:
        """Those of ``paragraph`` that can be read aloud, in its order."""
        return [sentence for sentence in split_sentences(joined_marks(paragraph)) if self.fits(sentence)]

    def fits(self, sentence: str) -> bool:
        """Whether ``sentence`` is one, of words with a known pronunciation, and of the right length."""
        if not re.fullmatch(r"[A-Z][A-Za-z ,;:'\-]*[a-z][.!?]", sentence):
            return False
        words = normalize(sentence).split()
        least, most = self.words
        return least <= len(words) <= most and all(word.strip("'") in dictionary() for word in words)


def joined_marks(text: str) -> str:
    """``text`` without the spaces that tokenizers of corpora put before its marks."""
    for pattern, repaired in _TOKENIZED:
        text = re.sub(pattern, repaired, text)
    return text


def split_sentences(paragraph: str) -> list[str]:
    """The English sentences of ``paragraph``."""
    return re.split(_BETWEEN, paragraph.strip())


def paragraphs(source: Path) -> Iterator[str]:
    """The paragraphs of a file, or of all files below a folder. Raises ``InputError`` if there is none, or a
    file is no text, or no JSON by that name.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    for path in files:
        text = read_text(path, "article")
        if path.suffix == ".json":
            try:
                yield from _strings(parse_json(text))
            except ValueError as error:
                raise InputError(f"{path}: this is no JSON ({error})") from None
        elif path.suffix == ".tsv":
            yield from (column for line in text.splitlines() for column in re.split(_COLUMNS, line))
        else:
            yield from text.splitlines()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def collect(
    sources: Sequence[Path], keep: SentenceFilter, said_in_dev: Collection[str], seed: int = 0
) -> tuple[list[str], int]:
    """Sentences of ``sources``, each once, in the order of their sources, and how many were left out because
    they are, normalized, in ``said_in_dev``. Raises what ``paragraphs`` does.
    """
    draw = random.Random(seed)
    found: dict[str, str] = {}
    for source in sources:
        for paragraph in paragraphs(source):
            sentences = keep.sentences(paragraph)
            for sentence in draw.sample(sentences, min(keep.per_paragraph, len(sentences))):
                found.setdefault(normalize(sentence), sentence)
    kept = [sentence for said, sentence in found.items() if said not in said_in_dev]
    return kept, len(found) - len(kept)


def said_in_dev(manifests: Sequence[Path]) -> frozenset[str]:
    """What the ``dev`` utterances of ``manifests`` say, normalized. Raises ``InputError`` if one cannot be
    read.
    """
    utterances = (utterance for manifest in manifests for utterance in read_manifest(manifest))
    return frozenset(normalize(utterance.text) for utterance in utterances if utterance.split == "dev")


def main() -> int:
    """Run; 0, or 2 if there is nothing to collect from."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SENTENCES.txt.gz")
    parser.add_argument("--apart-from", nargs="*", type=Path, default=[], metavar="MANIFEST.jsonl")
    options = parser.parse_args()
    try:
        sentences, left_out = collect(options.sources, SentenceFilter(), said_in_dev(options.apart_from))
        if not sentences:
            raise InputError("no sentence in the sources can be read aloud; nothing is written")
        with atomic_file(options.output) as new:
            new.write(gzip.compress("".join(f"{sentence}\n" for sentence in sentences).encode(), mtime=0))
    except InputError as error:
        print(f"collect_sentences: {error}", file=sys.stderr)
        return 2
    print(f"{len(sentences)} sentences in {options.output}; {left_out} that dev says were left out")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
