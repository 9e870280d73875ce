"""The phoneme head's say in what the language model writes: joint decoding.

Beam search looks for the text y with the highest

    log p(y | prompt) + w log p(g(y) | sound),        g(y) its phonemes,

as joint CTC and attention decoding does (Watanabe et al. 2017, doi 10.1109/JSTSP.2017.2763455), with phonemes in the
place of tokens. While y is being written, the second term is the probability that what was said begins with g:

    log p(g ... | sound) = log sum_t p(the last phoneme of g begins at frame t)

and the end of the turn brings it down to that of g and no more. Of an English word that is still being written the last
phonemes are not known yet and do not count, as the G of "thing" is none of "thin": they do when the word is complete.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nim4asr.phonemes import BLANK, TABLE, spoken_form, tokenize

# So many phonemes at the end of a word may change with its next letters.
_UNCERTAIN = 2
# Impossible, but no reason to lose the order of what is impossible.
_FLOOR = -1e4

_Frames = NDArray[np.float64]


class _Prefix(NamedTuple):
    """A phoneme sequence: log probabilities (T + 1,) of its paths that have ended in its last phoneme or in blank after
    so many frames, and of all that begin with it.
    """

    in_phoneme: _Frames
    in_blank: _Frames
    begun: float


class SoundGuide:
    """Weighs the next tokens of one utterance's texts by its ``log_probs`` (T, phonemes), ``weight`` times.

    ``text_of`` gives the text of tokens, and ``end`` is the token that ends it.
    """

    def __init__(
        self,
        log_probs: NDArray[np.float32],
        weight: float,
        text_of: Callable[[Sequence[int]], str],
        end: int,
    ) -> None:
        self._log_probs = np.ascontiguousarray(log_probs, np.float64)
        self._weight, self._text_of, self._end = weight, text_of, end
        blank = np.concatenate([[0.0], np.cumsum(self._log_probs[:, BLANK])])
        self._prefixes: dict[tuple[int, ...], _Prefix] = {
            (): _Prefix(np.full(len(blank), -math.inf), blank, 0.0)
        }
        self._labels: dict[tuple[str, int], tuple[int, ...]] = {}

    def gains(self, written: Sequence[int], candidates: Sequence[int]) -> list[float]:
        """What each of ``candidates`` adds to the weighted second term when it follows ``written``."""
        before = self._begun(self._text_of(written))
        return [self._weight * (self._after(written, one) - before) for one in candidates]

    def _after(self, written: Sequence[int], token: int) -> float:
        if token != self._end:
            return self._begun(self._text_of([*written, token]))
        whole = self._prefix(self._sounds(self._text_of(written)))
        return max(float(np.logaddexp(whole.in_phoneme[-1], whole.in_blank[-1])), _FLOOR)

    def _begun(self, text: str) -> float:
        in_word = text[-1:].isascii() and text[-1:].isalpha()
        return max(self._prefix(self._sounds(text, _UNCERTAIN if in_word else 0)).begun, _FLOOR)

    def _sounds(self, text: str, uncertain: int = 0) -> tuple[int, ...]:
        """The phonemes of ``text`` but for the last ``uncertain`` of its last token; what has none is passed over."""
        if (text, uncertain) not in self._labels:
            said = [one.phonemes for one in tokenize(spoken_form(text))]
            if said and uncertain:
                said[-1] = said[-1][:-uncertain]
            self._labels[text, uncertain] = tuple(TABLE.encode(phoneme for one in said for phoneme in one))
        return self._labels[text, uncertain]

    def _prefix(self, labels: tuple[int, ...]) -> _Prefix:
        known = len(labels)
        while labels[:known] not in self._prefixes:
            known -= 1
        prefix = self._prefixes[labels[:known]]
        for place in range(known, len(labels)):
            last = labels[place - 1] if place else BLANK
            prefix = _Prefix(
                *_extended(self._log_probs, prefix.in_phoneme, prefix.in_blank, last, labels[place])
            )
            self._prefixes[labels[: place + 1]] = prefix
        return prefix


@njit(cache=True)  # type: ignore[untyped-decorator]
def _extended(
    log_probs: _Frames, in_phoneme: _Frames, in_blank: _Frames, last: int, label: int
) -> tuple[_Frames, _Frames, float]:
    """The forward variables of a sequence that ends in ``last``, with ``label`` after it (Graves et al. 2006)."""
    frames = len(log_probs)
    phoneme, blank = np.full(frames + 1, -np.inf), np.full(frames + 1, -np.inf)
    begun = -np.inf
    for frame in range(frames):
        # Between two equal phonemes there must be a blank.
        entered = in_blank[frame]
        if label != last:
            entered = np.logaddexp(entered, in_phoneme[frame])
        entered += log_probs[frame, label]
        begun = np.logaddexp(begun, entered)
        phoneme[frame + 1] = np.logaddexp(phoneme[frame] + log_probs[frame, label], entered)
        blank[frame + 1] = np.logaddexp(phoneme[frame], blank[frame]) + log_probs[frame, BLANK]
    return phoneme, blank, begun
