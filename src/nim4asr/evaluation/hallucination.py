"""Hallucination: text that the audio does not hold.

By the paper's definition (arXiv 2604.18105): the hypothesis is over 1.5 times as long as the
reference and has next to no overlap with it. Text where nothing was said is always one.
"""

from collections import Counter
from collections.abc import Sequence

LONGER = 1.5
OVERLAP = 0.1


def is_hallucination(reference: Sequence[str], hypothesis: Sequence[str]) -> bool:
    """Whether ``hypothesis`` is over 1.5 times as long as ``reference`` and shares under a tenth of its
    tokens with it, order aside. Both are tokens as an error rate counts them.
    """
    if not reference:
        return bool(hypothesis)
    if len(hypothesis) <= LONGER * len(reference):
        return False
    shared = (Counter(reference) & Counter(hypothesis)).total()
    return shared < OVERLAP * len(reference)
