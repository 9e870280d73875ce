"""Hallucination: text that the audio does not hold.

By the paper's definition (arXiv 2604.18105): the hypothesis is over 1.5 times as long as the reference and
has next to no overlap with it. Text where nothing was said is always one, and so is letter soup (ours): a
word that is too long to be one, or a text that goes round in circles where the reference does not.
"""

import re
from collections import Counter
from collections.abc import Sequence

from nim4asr.model.decoding import LONGEST_WORD

LONGER = 1.5
OVERLAP = 0.1
# Some characters, four times over or more, of which there are sixteen or more together.
_CIRCLE = re.compile(r"(?=(.{1,16}?)\1{3})(?P<all>(.{1,16}?)\3{3,})")
_SHORTEST_CIRCLE = 16


def is_hallucination(reference: Sequence[str], hypothesis: Sequence[str]) -> bool:
    """Whether ``hypothesis`` is over 1.5 times as long as ``reference`` and shares under a tenth of its
    tokens with it, order aside. Both are tokens as an error rate counts them.
    """
    if not reference:
        return bool(hypothesis)
    if is_soup(hypothesis) and not is_soup(reference):
        return True
    if len(hypothesis) <= LONGER * len(reference):
        return False
    shared = (Counter(reference) & Counter(hypothesis)).total()
    return shared < OVERLAP * len(reference)


def is_soup(words: Sequence[str]) -> bool:
    """Whether there is a word of over 45 letters among ``words``, or a stretch that repeats itself over and
    over.
    """
    if any(len(word) > LONGEST_WORD for word in words):
        return True
    return any(len(found["all"]) >= _SHORTEST_CIRCLE for found in _CIRCLE.finditer(" ".join(words)))
