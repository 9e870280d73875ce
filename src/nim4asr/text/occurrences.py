"""Where a name stands in a text: the one definition that hints, labels, rewards and figures share.

A text is cut into pieces: a character of a script without spaces, a run of other letters, a number, or a
sign that is said (``&`` "and", ``+`` "plus" and ``#`` "sharp" behind a letter, ``.`` "dot" before a word).
Case, width, accents of Latin letters, hyphens and the like do not count. A name stands where its pieces
follow one another, and

- no comma, full stop or bracket stands between them that the name does not have there: 海南 does not stand in
  "上海，南京";
- it does not begin or end inside a word or a number: "Ann" stands in "Ann's plan" and in "我和Ann说", not in
  "planning", "Annie" or "O'Ann"; "C" stands neither in "C++" nor in "C919", 五G not in 十五G;
- between letters and digits a space makes no difference: "iPhone 15" stands in "iPhone15";
- digits are what is said for them: "5G" stands in "五g网络" and in "five g", "fifteen" in "15".
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import NamedTuple

from nim4asr.text.characters import HAN, SPACELESS, fold, is_han, is_spaceless
from nim4asr.text.spoken import holds_number, spoken_form, spoken_forms

# What of a word may stand behind a name that is one: "Ann's", "Ann'll". The n of "don't" is part of its word.
_ENDINGS = ("s", "ll", "d", "re", "ve", "m")
_APOSTROPHES = "'’‘ʼ`"
# Marks inside names, which a name may be written without.
_JOINING = frozenset("-‐‑–_/·・•&+#@~*^$€£¥%°" + _APOSTROPHES)
# What stays as it is, but for its case.
_SIMPLE = re.compile(rf"(?:[\x00-\x7f，。！？、；：“”‘’（）《》…]|{HAN})*")
# A character of a script without spaces, a number, a run of letters and the marks on them, a sign.
_PIECE = re.compile(
    rf"{SPACELESS}|\d+(?:[.,:]\d+)*|(?:(?!{SPACELESS})[^\W\d_]|(?<=\w)(?!{SPACELESS})[\u0300-\u036f\u0483-\u0487"
    r"\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0981-\u09e3\u0a01-\u0dff])+|[&+#.]"
)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_CHINESE_NUMBERS = frozenset("零〇一二两三四五六七八九十百千万亿")
_SIGNS = {"&": "and", "+": "plus"}


class Piece(NamedTuple):
    """A piece of a text, in its folded form, from ``start`` to ``end``; whether a name may begin with it, and
    end; and whether a mark parts it from the piece before.
    """

    text: str
    start: int
    end: int
    begins: bool
    ends: bool
    parted: bool = False


class Occurrence(NamedTuple):
    """A name that stands in a text, from ``start`` to ``end``: characters, or words where words were
    searched.
    """

    name: str
    start: int
    end: int


class Names:
    """Names to be found in texts. ``names`` may be a million."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._named: dict[str, str] = {}
        # Names of the same pieces as another one: "Zürich" and "ZURICH".
        self._others: dict[str, list[str]] = {}
        # Which pieces of a name a mark parts from the one before: of "Wait, Lee" the second.
        self._parted: dict[str, frozenset[int]] = {}
        # The most pieces of the names that begin with a piece.
        self._most: dict[str, int] = {}
        for name in dict.fromkeys(names):
            for pieces, parted in _keys(name):
                key = " ".join(pieces)
                if parted:
                    self._parted[key] = self._parted.get(key, frozenset()) | parted
                if self._named.setdefault(key, name) is not name:
                    self._others.setdefault(key, []).append(name)
                if self._most.get(pieces[0], 0) < len(pieces):
                    self._most[pieces[0]] = len(pieces)

    def find(self, text: str) -> list[Occurrence]:
        """Every place where a name stands in ``text``, in order; a shorter one at a place comes first."""
        return self._found(_readings_of(text))

    def find_in_words(self, words: Sequence[str]) -> list[Occurrence]:
        """As ``find``, in a text that is cut into ``words`` already; places are theirs."""
        return self._found((_pieces_of_words(words),))

    def _found(self, readings: Iterable[Sequence[Piece]]) -> list[Occurrence]:
        found: dict[Occurrence, None] = {}
        for pieces in readings:
            for first, piece in enumerate(pieces):
                most = self._most.get(piece.text, 0)
                if not piece.begins or not most:
                    continue
                key, parted = piece.text, set[int]()
                for place, last in enumerate(pieces[first : first + most]):
                    if place:
                        key = f"{key} {last.text}"
                        if last.parted:
                            parted.add(place)
                    if parted and not self._parted:
                        break
                    if last.ends and key in self._named and parted <= self._parted.get(key, frozenset()):
                        for name in (self._named[key], *self._others.get(key, ())):
                            found[Occurrence(name, piece.start, last.end)] = None
        return sorted(found, key=lambda place: (place.start, place.end))


def occurrences(name: str, text: str) -> list[tuple[int, int]]:
    """Start and end of every place in ``text`` where ``name`` stands, by this module's definition."""
    return [(place.start, place.end) for place in _one(name).find(text)]


def occurrences_in_words(name: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """As ``occurrences``, in a text that is cut into ``words`` already: the first word and the one after the
    last.
    """
    return [(place.start, place.end) for place in _one(name).find_in_words(words)]


def stands_in(name: str, text: str) -> bool:
    """Whether ``name`` stands in ``text``, by this module's definition."""
    return bool(occurrences(name, text))


def longest_first(found: Sequence[Occurrence]) -> list[Occurrence]:
    """Of occurrences in order, from left to right: the longest that begins at a place, and none that overlaps
    it.
    """
    kept: list[Occurrence] = []
    for place in sorted(found, key=lambda place: (place.start, -place.end)):
        if not kept or place.start >= kept[-1].end:
            kept.append(place)
    return kept


@lru_cache(maxsize=4096)
def _one(name: str) -> Names:
    return Names([name])


def _keys(name: str) -> Iterable[tuple[tuple[str, ...], frozenset[int]]]:
    """The pieces by which a name is found, as it is written and as it may be said, and which are parted."""
    if all(map(is_han, name)):
        # Most names are such, and there may be millions of them.
        return [(tuple(name), frozenset())] if name else []
    found: dict[tuple[str, ...], frozenset[int]] = {}
    for form in (name, *spoken_forms(name)):
        if pieces := _pieces(form):
            parted = frozenset(place for place, piece in enumerate(pieces) if place and piece.parted)
            found[tuple(piece.text for piece in pieces)] = parted
    return found.items()


@lru_cache(maxsize=512)
def _readings_of(text: str) -> tuple[tuple[Piece, ...], ...]:
    """The pieces of a text as it is written and, where it holds numbers, as it is said."""
    written = tuple(_pieces(text))
    if not holds_number(text):
        return (written,)
    spoken = spoken_form(text)
    # A place in what is said is the place in the text that it was made of: (start, end) of each character, of
    # the whole number for one that was made of a number.
    places = [(0, 0)] * len(spoken)
    for kind, a, b, first, last in SequenceMatcher(None, text, spoken, autojunk=False).get_opcodes():
        for place in range(first, last):
            start = a + place - first if kind == "equal" else a
            places[place] = (start, start + 1 if kind == "equal" else b)
    # No name begins or ends inside a word or a number as it is written: behind the C of "C919", with the five
    # of "25G".
    within = {place for piece in written for place in range(piece.start + 1, piece.end)}
    no_start = within | {piece.start for piece in written if not piece.begins}
    no_end = within | {piece.end for piece in written if not piece.ends}
    said: list[Piece] = []
    for piece in _pieces(spoken):
        (start, _), (_, end) = places[piece.start], places[piece.end - 1]
        inside = bool(said) and said[-1].end > start
        if inside:
            said[-1] = said[-1]._replace(ends=False)
        begins = piece.begins and not inside and start not in no_start
        stops = piece.ends and end not in no_end
        said.append(Piece(piece.text, start, end, begins, stops, piece.parted))
    return (written, tuple(said))


def _pieces_of_words(words: Sequence[str]) -> list[Piece]:
    return [
        piece._replace(start=place, end=place + 1)
        for place, word in enumerate(words)
        for piece in _pieces(word)
    ]


def _pieces(text: str) -> list[Piece]:
    plain, places = _folded(text)
    found: list[Piece] = []
    for match in _PIECE.finditer(plain):
        start, end = match.span()
        said = match.group()
        if not said[0].isalnum():
            said = _sign(plain, start)
        elif "," in said and _GROUPED.fullmatch(said):
            said = said.replace(",", "")
        if not said:
            continue
        begins, parted = True, False
        if found:
            before = found[-1]
            if _goes_on(plain, before, start):
                begins = False
                # Of "Ann's" the name ends before the apostrophe; nothing begins behind it.
                if before.end == start or said not in _ENDINGS or (end < len(plain) and _letter(plain, end)):
                    found[-1] = before._replace(ends=False)
            elif start > before.end:
                parted = _parts(plain, before, start)
        found.append(Piece(said, start, end, begins, True, parted))
    if places is None:
        return found
    return [piece._replace(start=places[piece.start][0], end=places[piece.end - 1][1]) for piece in found]


def _sign(plain: str, place: int) -> str:
    """What is said for the sign that stands there; nothing if it is none of a name."""
    character = plain[place]
    before = plain[place - 1] if place else " "
    behind = before.isalnum() and not is_spaceless(before)
    if character == "#":
        return "sharp" if behind else "number" if plain[place + 1 : place + 2].isdigit() else ""
    if character == ".":
        begins = not behind and before not in "._" and place + 1 < len(plain) and _letter(plain, place + 1)
        return "dot" if begins else ""
    return _SIGNS[character] if character == "&" or behind or before == "+" else ""


def _letter(plain: str, place: int) -> bool:
    """Whether a letter of a script with words stands there."""
    return plain[place].isalpha() and not is_spaceless(plain[place])


def _goes_on(plain: str, piece: Piece, place: int) -> bool:
    """Whether what begins at ``place`` belongs to the word that ``piece`` is of."""
    between = plain[piece.end : place]
    sides = plain[piece.end - 1], plain[place]
    if any(map(is_spaceless, sides)):
        # 五G is another name than 十五G.
        return not between and all(side in _CHINESE_NUMBERS for side in sides)
    return not between or (len(between) == 1 and between in _APOSTROPHES and all(map(str.isalpha, sides)))


def _parts(plain: str, piece: Piece, place: int) -> bool:
    """Whether a mark between ``piece`` and what begins at ``place`` parts them."""
    for at in range(piece.end, place):
        mark = plain[at]
        if mark == ".":
            # "St. Louis" and "node.js", but not the end of a sentence.
            if plain[at + 1].isspace() and (len(piece.text) > 2 or is_spaceless(piece.text)):
                return True
        elif not (mark.isspace() or mark in _JOINING or _is_mark(mark)):
            return True
    return False


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _folded(text: str) -> tuple[str, list[tuple[int, int]] | None]:
    """``text`` in one case and width, Latin letters without accents; and of each of its characters the place
    in ``text``, None if that is its own.
    """
    if _SIMPLE.fullmatch(text):
        return text.lower(), None
    plain: list[str] = []
    places: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        end = start + 1
        # A letter and the marks on it are one; so are the marks of kana of half width.
        while end < len(text) and not text[end].isascii() and (_is_mark(text[end]) or text[end] in "ﾞﾟ"):
            end += 1
        one = _folded_cluster(text[start:end])
        plain.append(one)
        places += [(start, end)] * len(one)
        start = end
    return "".join(plain), places


@lru_cache(maxsize=8192)
def _folded_cluster(cluster: str) -> str:
    # A circled or superscript digit is a digit, but not one with those beside it.
    plain = unicodedata.normalize("NFKC", cluster).casefold()
    latin = all(c.isascii() or "LATIN" in unicodedata.name(c, "") or _is_mark(c) for c in plain)
    return fold(plain) if latin else plain
