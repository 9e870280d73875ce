"""Hints in training prompts: what a language model learns their use from.

A share of a batch's prompts gets hints: keywords of the transcript, which it may copy, among keywords of other
transcripts, which it must not. Some prompts have others' keywords alone. A keyword is a run of two to four Chinese
characters or one English word; which of them are names does not matter for learning to look a sound up in a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from nim4asr.model.prompt import MOST_HINTS
from nim4asr.phonemes.mandarin import is_han

# English words of fewer letters are in every transcript.
_SHORTEST_WORD = 4


@dataclass(frozen=True)
class HintSampling:
    """``share`` of the prompts have hints; of those, ``foreign`` hold none of their own transcript's keywords.

    Of its own a prompt has one or ``own`` at the most; of others' up to ``others``.
    """

    share: float = 0.5
    foreign: float = 0.25
    own: int = 2
    others: int = 5

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 <= self.foreign <= 1):
            raise ValueError("share and foreign are shares, from 0 to 1")
        if self.own < 1 or self.others < 0 or self.own + self.others > MOST_HINTS:
            raise ValueError(f"a prompt holds at most {MOST_HINTS} hints, one of its own among them")


def draw_hints(texts: Sequence[str], config: HintSampling, random: Generator) -> list[tuple[str, ...]]:
    """Hints for the prompt of each text, shuffled, each once; none for some."""
    drawn: list[tuple[str, ...]] = []
    for text in texts:
        hints: list[str] = []
        if random.random() < config.share:
            if random.random() >= config.foreign:
                for _ in range(int(random.integers(1, config.own + 1))):
                    hints += keyword(text, random)
            for _ in range(int(random.integers(0, config.others + 1))):
                other = keyword(texts[int(random.integers(len(texts)))], random)
                hints += (one for one in other if one not in text)
        unique = list(dict.fromkeys(hints))
        drawn.append(tuple(unique[i] for i in random.permutation(len(unique))))
    return drawn


def keyword(text: str, random: Generator) -> list[str]:
    """A keyword of ``text`` drawn at random, or nothing if it has none."""
    length = int(random.choice((2, 3, 3, 4)))
    if any(map(is_han, text)):
        runs = [text[i : i + length] for i in range(len(text) - length + 1)]
        found = [run for run in runs if all(map(is_han, run))]
    else:
        found = [word for word in text.split() if len(word) >= _SHORTEST_WORD]
    return [found[int(random.integers(len(found)))]] if found else []
