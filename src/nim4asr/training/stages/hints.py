"""Hints in training prompts, as context SFT draws them.

The hints of a sample are the keywords in its transcript and, for each of them with some probability, a
distractor of identical or near pronunciation; here also keywords that were not said and sound like nothing in
it, as retrieval gives now and then. A true keyword is left out at times, so that a text is not expected to
hold hints alone, and some prompts hold nothing but what was not said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.random import Generator

from nim4asr.data.keywords import KeywordSet
from nim4asr.model.prompt import MOST_HINTS
from nim4asr.text.characters import is_han
from nim4asr.text.normalization import normalize
from nim4asr.text.occurrences import stands_in

# English words of fewer letters are in every transcript.
_SHORTEST_WORD = 4


@dataclass(frozen=True)
class HintSampling:
    """Which prompts have hints, and which."""

    share: float = 0.8
    """The share of the prompts that have hints."""
    unrelated_share: float = 0.1
    """Of those, the share with none of their own transcript's keywords."""
    drop_probability: float = 0.2
    """Each of a transcript's own keywords is left out with this probability,"""
    distractor_probability: float = 0.5
    """and brings one that sounds like it with this one."""
    max_own: int = 6
    """So many of its own keywords at the most."""
    max_others: int = 5
    """Up to so many keywords of anything come with them."""
    max_hints: int = MOST_HINTS
    """So many hints at the most."""

    def __post_init__(self) -> None:
        if not all(
            0 <= probability <= 1
            for probability in (
                self.share,
                self.unrelated_share,
                self.drop_probability,
                self.distractor_probability,
            )
        ):
            raise ValueError("shares and probabilities lie from 0 to 1")
        if self.max_own < 1 or self.max_others < 0 or not 1 <= self.max_hints <= MOST_HINTS:
            raise ValueError(f"a prompt holds one to {MOST_HINTS} hints, one of its own among them")


def draw_hints(
    texts: Sequence[str], config: HintSampling, random: Generator, keywords: KeywordSet | None = None
) -> tuple[tuple[str, ...], ...]:
    """Hints for the prompt of each text, shuffled, each once; none for some.

    Without ``keywords``, a keyword is a run of two to four Chinese characters or a word: which of them are
    names does not matter for learning to look a sound up in a list.
    """
    # Hints are plain words, whatever the form of the texts.
    plain = [normalize(text) for text in texts]
    return tuple(_of_one(text, plain, config, random, keywords) for text in plain)


def _of_one(
    text: str, texts: Sequence[str], config: HintSampling, random: Generator, keywords: KeywordSet | None
) -> tuple[str, ...]:
    if random.random() >= config.share:
        return ()
    if keywords is None:
        said = [word for _ in range(int(random.integers(1, 3))) for word in keyword(text, random)]
    else:
        said = keywords.within(text)
    said = [said[i] for i in random.permutation(len(said))[: config.max_own]]
    foreign = random.random() < config.unrelated_share
    own = [] if foreign else [word for word in said if random.random() >= config.drop_probability]
    hints = list(own)
    if keywords is not None:
        for word in said:
            if random.random() < config.distractor_probability:
                hints += keywords.alike(word, random)
    for _ in range(int(random.integers(0, config.max_others + 1))):
        if keywords is None:
            hints += keyword(texts[int(random.integers(len(texts)))], random)
        elif (other := keywords.draw(random)) is not None:
            hints.append(other)
    # What was said is no distractor, and what was dropped stays out.
    unique = list(dict.fromkeys(hint for hint in hints if hint in own or not stands_in(hint, text)))[
        : config.max_hints
    ]
    return tuple(unique[i] for i in random.permutation(len(unique)))


def keyword(text: str, random: Generator) -> list[str]:
    """A keyword of ``text`` drawn at random, or nothing if it has none."""
    length = int(random.choice((2, 3, 3, 4)))
    if any(map(is_han, text)):
        runs = [text[i : i + length] for i in range(len(text) - length + 1)]
        found = [run for run in runs if all(map(is_han, run))]
    else:
        found = [word for word in text.split() if len(word) >= _SHORTEST_WORD]
    return [found[int(random.integers(len(found)))]] if found else []
