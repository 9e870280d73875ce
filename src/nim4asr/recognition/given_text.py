"""A text that is given, as it is to be listened for: its words as they are written, with the phonemes by
which they are said.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace

from nim4asr.phonemes import TABLE, tokenize
from nim4asr.text.joining import joined
from nim4asr.text.spoken import spoken_form
from nim4asr.text.tokens import aligned, tokens_of

# Where a part ends that is read by itself: behind a sentence, and at the end of a line.
_ENDS = re.compile(r"[。！？；\n]+|[!?;.]+(?=\s)|\Z")
# A part without such an end is cut, so that what comparing it takes stays small.
_LONGEST_PART = 2000


@dataclass(frozen=True)
class GivenWord:
    """A word, a Chinese character or a number of a given text, which ``text[start:end]`` is.

    With the marks around it, it is ``text[shown_start:shown_end]``. ``phonemes`` are indices of the table,
    none where no sound is known.
    """

    start: int
    end: int
    phonemes: tuple[int, ...]
    shown_start: int = 0
    shown_end: int = 0


def given_words(text: str) -> list[GivenWord]:
    """The words of ``text`` in order. Numbers, amounts and signs have the phonemes of their spoken form."""
    words: list[GivenWord] = []
    for start, end in _parts(text):
        words += _words_of(text[start:end], start)
    return _with_marks(text, words)


def shown(text: str) -> str:
    """A piece of a given text on one line."""
    return joined(line.strip() for line in text.splitlines())


def _parts(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for found in _ENDS.finditer(text):
        while found.end() - start > _LONGEST_PART:
            # Between two words, if there is a space.
            cut = text.rfind(" ", start + _LONGEST_PART // 2, start + _LONGEST_PART)
            end = cut if cut > start else start + _LONGEST_PART
            yield start, end
            start = end
        if found.end() > start:
            yield start, found.end()
        start = found.end()


def _words_of(part: str, offset: int) -> Iterator[GivenWord]:
    written = tokens_of(part)
    said = tokenize(spoken_form(part))
    phonemes = [tuple(TABLE.encode(token.phonemes)) for token in said]
    waiting: tuple[int, ...] = ()
    last: GivenWord | None = None
    for own, theirs in aligned([token.text for token in written], [token.text for token in said]):
        sounds = sum((phonemes[i] for i in theirs), ())
        if not own:
            # A sign that is said: it belongs to the word before it, or else to the next one.
            if last is not None:
                last = replace(last, phonemes=last.phonemes + sounds)
            else:
                waiting += sounds
            continue
        if last is not None:
            yield last
        first, final = written[own.start], written[own.stop - 1]
        end = final.start + len(final.text)
        last = GivenWord(offset + first.start, offset + end, waiting + sounds)
        waiting = ()
    if last is not None:
        yield last


def _with_marks(text: str, words: list[GivenWord]) -> list[GivenWord]:
    """What stands between two words goes to the first of them, up to a space, and an opening mark to the
    second.
    """
    whole: list[GivenWord] = []
    begins = 0
    for number, word in enumerate(words):
        after = words[number + 1].start if number + 1 < len(words) else len(text)
        between = text[word.end : after]
        if number + 1 == len(words):
            ends = after
        elif any(map(str.isspace, between)):
            ends = (
                word.end + len(between.rstrip()) if between[-1].isspace() else _last_space(between, word.end)
            )
        else:
            ends = after
            while ends > word.end and unicodedata.category(text[ends - 1]) in ("Ps", "Pi"):
                ends -= 1
        start = begins
        while start < word.start and text[start].isspace():
            start += 1
        stop = ends
        while stop > word.end and text[stop - 1].isspace():
            stop -= 1
        whole.append(replace(word, shown_start=start, shown_end=stop))
        begins = ends
    return whole


def _last_space(between: str, offset: int) -> int:
    return offset + max(place for place, character in enumerate(between) if character.isspace())
