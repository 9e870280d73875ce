"""English letter-to-sound rules, for words that no dictionary has.

Each letter says nothing, one phoneme or two (x: K S). Which letter says what is found by
expectation maximisation over a dictionary (Black, Lenzo and Pagel 1998, "Issues in building general
letter to sound rules"). Then every letter takes the sound that its widest known context, up to three
letters on each side, says most often; the context shrinks until it is known.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import log

Sound = tuple[str, ...]

# Context windows (letters before, letters after), widest first.
_WINDOWS = ((3, 3), (2, 3), (2, 2), (1, 2), (1, 1), (0, 1), (0, 0))
_EDGE = "#"


class SpellingRules:
    """``say("blorp")`` -> ``["B", "L", "AO", "R", "P"]``."""

    def __init__(self, rules: Mapping[str, Sound]) -> None:
        self._rules = dict(rules)

    def say(self, word: str) -> list[str]:
        """Phonemes of ``word`` (letters a-z; any other character is silent)."""
        padded = _pad(word.lower())
        sounds: list[str] = []
        for position in range(3, len(padded) - 3):
            for before, after in _WINDOWS:
                sound = self._rules.get(_context(padded, position, before, after))
                if sound is not None:
                    sounds.extend(sound)
                    break
        return sounds

    def dump(self) -> str:
        """The rules as text, one a line: context, tab, phonemes."""
        return "".join(f"{key}\t{' '.join(sound)}\n" for key, sound in sorted(self._rules.items()))

    @classmethod
    def parse(cls, text: str) -> "SpellingRules":
        """The inverse of ``dump``."""
        lines = (line.partition("\t") for line in text.splitlines())
        return cls({key: tuple(sound.split()) for key, _, sound in lines})

    @classmethod
    def learn(cls, words: Mapping[str, Sequence[str]], iterations: int = 4) -> "SpellingRules":
        """Learn from a dictionary of words and their phonemes."""
        scores: Mapping[tuple[str, Sound], float] = _FirstGuess()
        alignments: dict[str, list[Sound]] = {}
        for _ in range(iterations):
            counts: Counter[tuple[str, Sound]] = Counter()
            for word, phonemes in words.items():
                alignment = _align(word, phonemes, scores)
                if alignment is not None:
                    alignments[word] = alignment
                    counts.update(zip(word, alignment, strict=True))
            totals: Counter[str] = Counter()
            for (letter, _sound), count in counts.items():
                totals[letter] += count
            found = {pair: log(n / totals[pair[0]]) for pair, n in counts.items()}
            scores = defaultdict(lambda: -12.0, found)
        return cls(_rules(alignments))


class _FirstGuess(dict[tuple[str, Sound], float]):
    """Scores before anything is learnt: one phoneme a letter, vowels for vowels, a symbol's own letter
    best.
    """

    def __missing__(self, pair: tuple[str, Sound]) -> float:
        letter, sound = pair
        if not sound:
            return -3.0
        alike = (letter in "aeiouy") == (sound[0][0] in "AEIOU")
        own = sound[0][0].lower() == letter
        return (-1.0 if len(sound) == 1 else -5.0) - (0.0 if own else 1.0) - (0.0 if alike else 3.0)


def _rules(alignments: Mapping[str, Sequence[Sound]]) -> dict[str, Sound]:
    rules: dict[str, Sound] = {}
    # From narrow to wide, keeping a wider context only where it says something else, often enough.
    for before, after in reversed(_WINDOWS):
        heard: dict[str, Counter[Sound]] = defaultdict(Counter)
        for word, alignment in alignments.items():
            padded = _pad(word)
            for position, sound in enumerate(alignment, 3):
                heard[_context(padded, position, before, after)][sound] += 1
        wider = {}
        for key, counter in heard.items():
            sound, count = counter.most_common(1)[0]
            if count >= 2 and sound != _narrower(rules, key, before, after):
                wider[key] = sound
        rules.update(wider)
    return rules


def _narrower(rules: Mapping[str, Sound], key: str, before: int, after: int) -> Sound | None:
    left, rest = key.split("<")
    letter, right = rest.split(">")
    for fewer_before, fewer_after in _WINDOWS[_WINDOWS.index((before, after)) + 1 :]:
        narrow = f"{left[len(left) - fewer_before :]}<{letter}>{right[:fewer_after]}"
        if narrow in rules:
            return rules[narrow]
    return None


def _pad(word: str) -> str:
    return _EDGE * 3 + word + _EDGE * 3


def _context(padded: str, position: int, before: int, after: int) -> str:
    left = padded[position - before : position]
    right = padded[position + 1 : position + 1 + after]
    return f"{left}<{padded[position]}>{right}"


def _align(
    word: str, phonemes: Sequence[str], scores: Mapping[tuple[str, Sound], float]
) -> list[Sound] | None:
    """The best split of ``phonemes`` into 0, 1 or 2 a letter (Viterbi), or None if there is none."""
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for letter in word:
        step: dict[int, tuple[float, int]] = {}
        for said, (score, _) in best[-1].items():
            for size in (0, 1, 2):
                end = said + size
                if end > len(phonemes):
                    break
                total = score + scores[letter, tuple(phonemes[said:end])]
                if end not in step or total > step[end][0]:
                    step[end] = (total, size)
        best.append(step)
    end = len(phonemes)
    if end not in best[-1]:
        return None
    alignment: list[Sound] = []
    for step in reversed(best[1:]):
        size = step[end][1]
        alignment.append(tuple(phonemes[end - size : end]))
        end -= size
    return alignment[::-1]
