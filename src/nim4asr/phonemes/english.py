"""English words to phonemes: the CMU dictionary, then word parts, then letter-to-sound rules."""

import gzip
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from nim4asr.phonemes.spelling import SpellingRules

Phonemes = tuple[str, ...]

_LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY",
    "h": "EY CH", "i": "AY", "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N",
    "o": "OW", "p": "P IY", "q": "K Y UW", "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW",
    "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}  # fmt: skip
_SIBILANTS = frozenset("S Z SH ZH CH JH".split())
_VOICELESS = frozenset("P T K F TH".split())
_VOWELS = frozenset("aeiouy")
# The longest word said as an acronym, letter by letter, when written in capitals.
_LONGEST_ACRONYM = 6
# The dictionary is searched by so many first bytes of a word at once: those of a 64-bit number.
_INDEXED = 8
# The longest that may be two words put together.
_LONGEST_COMPOUND = 40


class Dictionary(Mapping[str, tuple[Phonemes, ...]]):
    """Word (lower case) -> pronunciations, the likeliest first.

    Its text as it is, of a line a word in their order, searched by halves: made into objects it would take 60
    MB and a seventh of a second, for the few words of a recording.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._starts = np.flatnonzero(np.frombuffer(b"\n" + text, np.uint8)[:-1] == ord("\n")).astype(
            np.int32
        )
        self._beginnings = array("Q", _beginnings(text, self._starts).tobytes())

    def __getitem__(self, word: str) -> tuple[Phonemes, ...]:
        key = word.encode()
        beginning = int.from_bytes(key[:_INDEXED].ljust(_INDEXED, b"\0"), "big")
        # Those that begin alike are few.
        place = bisect_left(self._beginnings, beginning)
        after = bisect_right(self._beginnings, beginning, place)
        place = bisect_left(range(after), key, place, key=self._word)
        if place == after or self._word(place) != key:
            raise KeyError(word)
        line = self._text[self._starts[place] : self._text.index(b"\n", self._starts[place])].decode()
        return tuple(tuple(pronunciation.split()) for pronunciation in line.partition("\t")[2].split("|"))

    def __iter__(self) -> Iterator[str]:
        return (self._word(place).decode() for place in range(len(self)))

    def __len__(self) -> int:
        return len(self._starts)

    def _word(self, place: int) -> bytes:
        start = self._starts[place]
        return self._text[start : self._text.index(b"\t", start)]


def _beginnings(text: bytes, starts: NDArray[np.int32]) -> NDArray[np.uint64]:
    """The first bytes of the word at each of ``starts``, as numbers in the words' order."""
    letters = np.frombuffer(text + b"\t" * _INDEXED, np.uint8)[
        starts[:, None] + np.arange(_INDEXED, dtype=np.int32)
    ]
    letters[np.logical_or.accumulate(letters == ord("\t"), axis=1)] = 0
    numbers: NDArray[np.uint64] = letters.view(">u8")[:, 0].astype(np.uint64)
    return numbers


@cache
def dictionary() -> Dictionary:
    """The CMU dictionary."""
    data = files("nim4asr.phonemes").joinpath("data/english.tsv.gz").read_bytes()
    return Dictionary(gzip.decompress(data))


@cache
def _spelling_rules() -> SpellingRules:
    data = files("nim4asr.phonemes").joinpath("data/spelling.tsv.gz").read_bytes()
    return SpellingRules.parse(gzip.decompress(data).decode())


def letters(word: str) -> Phonemes:
    """``word`` said letter by letter: ``"NIO"`` -> EH N AY OW. Anything but a-z is silent."""
    return tuple(p for letter in word.lower() for p in _LETTERS.get(letter, "").split())


@lru_cache(maxsize=200_000)
def readings(word: str) -> tuple[Phonemes, ...]:
    """All pronunciations of ``word``, likeliest first; empty if it holds anything but letters a-z and
    apostrophes.

    A word in capitals is also said letter by letter, and first so if no dictionary has it or it
    could not be said otherwise: ``NIO`` is both N-I-O and "nio"; ``NASA`` is "nasa" first.
    """
    plain = word.lower().replace("’", "'").strip("'-")
    if not plain or not all("a" <= c <= "z" or c in "'-" for c in plain):
        return ()
    known = _dictionary_readings(plain)
    # Letters that no rule gives a sound, as in "ewww", are said one by one.
    as_word = known or (_guess(plain) or letters(plain),)
    acronym = word.isupper() and 2 <= len(plain) <= _LONGEST_ACRONYM
    if not acronym and (known or _VOWELS & set(plain)):
        return tuple(said for said in as_word if said)
    as_letters = (letters(plain),)
    if not _VOWELS & set(plain):
        as_word = known
    ordered = as_word + as_letters if known else as_letters + as_word
    return tuple(dict.fromkeys(said for said in ordered if said))


def _dictionary_readings(word: str) -> tuple[Phonemes, ...]:
    known = dictionary().get(word)
    if known:
        return known
    if word.endswith("'s") or word.endswith("s'"):
        return tuple(said + _plural(said) for said in _dictionary_readings(word[:-2]))
    return ()


def _guess(word: str) -> Phonemes:
    """An unknown word: two dictionary words put together if it is that, else by its spelling."""
    words = dictionary()
    if word.endswith("'s"):
        stem = _guess(word[:-2])
        return stem + _plural(stem)
    for cut in range(min(len(word), _LONGEST_COMPOUND) - 3, 2, -1):
        first, second = words.get(word[:cut]), words.get(word[cut:])
        if first and second:
            return first[0] + second[0]
    if word.endswith("s") and word[:-1] in words:
        stem = words[word[:-1]][0]
        return stem + _plural(stem)
    return tuple(_spelling_rules().say(word))


def _plural(said: Phonemes) -> Phonemes:
    """The sound of a plural or possessive s after ``said``."""
    if not said:
        return ()
    if said[-1] in _SIBILANTS:
        return ("IH", "Z")
    return ("S",) if said[-1] in _VOICELESS else ("Z",)
