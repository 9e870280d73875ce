"""What a transcript is worth to RL: three rewards, each a pure function of texts, and no learned one.

    R = R_acc + 0.5 R_hallu + 0.5 R_context

References and hypotheses are compared as error rates compare them: normalized, by Chinese characters and
other words.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nim4asr.evaluation.error_rate import ErrorCount
from nim4asr.text.normalization import tokens
from nim4asr.text.occurrences import stands_in

HIT, MISS = 0.5, -0.5
HALLUCINATION_WEIGHT = CONTEXT_WEIGHT = 0.5


@dataclass(frozen=True)
class Reward:
    """The parts of a reward."""

    accuracy: float
    hallucination: float
    context: float

    @property
    def total(self) -> float:
        """R above."""
        return self.accuracy + HALLUCINATION_WEIGHT * self.hallucination + CONTEXT_WEIGHT * self.context


def reward(
    reference: str, hypothesis: str, hints: Sequence[str] = (), important: Collection[str] = ()
) -> Reward:
    """The reward of ``hypothesis`` under a prompt with ``hints``."""
    said, written = tokens(reference), tokens(hypothesis)
    return Reward(
        accuracy(said, written),
        hallucination(said, written),
        context(reference, hypothesis, hints, important),
    )


def accuracy(reference: Sequence[str], hypothesis: Sequence[str]) -> float:
    """exp(-2 CER); where nothing was said, 1 for an empty hypothesis and 0 for any other."""
    rate = ErrorCount.between(reference, hypothesis).rate
    if rate is None:
        return 0.0 if hypothesis else 1.0
    return math.exp(-2 * rate)


def hallucination(reference: Sequence[str], hypothesis: Sequence[str]) -> float:
    """-1 if the hypothesis is over twice as long as the reference, or under half as long; else 0."""
    return -1.0 if not len(reference) / 2 <= len(hypothesis) <= 2 * len(reference) else 0.0


def context(reference: str, hypothesis: str, hints: Sequence[str], important: Collection[str] = ()) -> float:
    """The mean over keywords of 0.5 for one said and written, and -0.5 for one said and not, or not and
    written.

    Scored are the hints of the prompt and, hinted or not, those ``important`` that were said. A hint that was
    neither said nor written scores nothing (the paper forgets the one written and not said). 0 if nothing is
    scored.
    """
    scores: list[float] = []
    for keyword in dict.fromkeys([*hints, *important]):
        was_said, was_written = stands_in(keyword, reference), stands_in(keyword, hypothesis)
        if was_said:
            scores.append(HIT if was_written else MISS)
        elif was_written and keyword in hints:
            scores.append(MISS)
    return sum(scores) / len(scores) if scores else 0.0
