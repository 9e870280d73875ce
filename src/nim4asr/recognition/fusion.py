"""What the sound and the hints have to say of the text that the language model writes, token by token.

**Joint decoding.** Beam search looks for the text y with the highest

    log p(y | prompt) + w log p(g(y) | sound),        g(y) its phonemes,

as joint CTC and attention decoding does (Watanabe et al. 2017, doi 10.1109/JSTSP.2017.2763455), with phonemes
in the place of tokens. While y is being written, the second term is the probability that what was said begins
with g:

    log p(g ... | sound) = log sum_t p(the last phoneme of g begins at frame t)

and the end of the turn brings it down to that of g and no more. Of an English word that is still being
written the last phonemes are not known yet and do not count, as the G of "thing" is none of "thin": they do
when the word is complete.

**Hints.** A hint in the prompt says that a name may be there; a small language model often writes a commoner
one of the same sound all the same. So the text's score rises with every part of a hint that it holds.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import BLANK, TABLE, pronounce, settled, tokenize
from nim4asr.phonemes.ctc import extend_prefixes
from nim4asr.text.characters import fold, in_word
from nim4asr.text.normalization import normalize
from nim4asr.text.occurrences import stands_in
from nim4asr.text.spoken import holds_number, spoken_form, spoken_forms

# So many phonemes at the end of a word may change with its next letters.
_UNCERTAIN = 2
# For the impossible: finite, so that among impossible texts the language model's order stands.
_FLOOR = -1e4

_Frames = NDArray[np.float64]


class _Prefix(NamedTuple):
    """A phoneme sequence: log probabilities (T + 1,) of its paths that have ended in its last phoneme or in
    blank after so many frames, and of all that begin with it.
    """

    in_phoneme: _Frames
    in_blank: _Frames
    begun: float


class PhonemeScorer:
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
        # Log probabilities of all that begins with a sequence, and of it alone. Kept for all that was ever
        # asked for, unlike the prefixes: texts that are homophones ask for the same.
        self._known: dict[tuple[int, ...], tuple[float, float]] = {}
        # The prefixes of what is asked for now.
        self._heard: dict[tuple[int, ...], _Prefix] = {}
        # A text that those asked for now begin with, and its phonemes: only what follows need be pronounced.
        self._settled: tuple[str, tuple[int, ...]] = ("", ())

    def gains(self, written: Sequence[int], candidates: Sequence[int]) -> list[float]:
        """What each of ``candidates`` adds to the weighted second term when it follows ``written``."""
        text = self._text_of(written)
        start = text[: settled(text)]
        self._settled = (start, self._sounds(start))
        before = self._begun_with(text)
        after = [
            self._sounds(text)
            if candidate == self._end
            else self._begun_with(self._text_of([*written, candidate]))
            for candidate in candidates
        ]
        self._hear([before, *after])
        # Kept for what will be written next; those of the candidates would fill the memory.
        self._prefixes.setdefault(before, self._heard[before])
        odds = [
            self._known[labels][candidate == self._end]
            for labels, candidate in zip(after, candidates, strict=True)
        ]
        self._heard.clear()
        return [self._weight * (odd - self._known[before][0]) for odd in odds]

    def _hear(self, wanted: Sequence[tuple[int, ...]]) -> None:
        """Find the odds of all that is ``wanted``: of so many sequences at a time, each a phoneme longer."""
        growing: list[tuple[tuple[int, ...], int]] = []
        for labels in dict.fromkeys(wanted):
            # Of the first, the text as it stands, the prefix itself is wanted.
            if labels not in self._known or labels == wanted[0]:
                known = len(labels)
                while labels[:known] not in self._prefixes:
                    known -= 1
                self._heard[labels[:known]] = self._prefixes[labels[:known]]
                growing.append((labels, known))
        while growing := [(labels, known) for labels, known in growing if known < len(labels)]:
            longer = dict.fromkeys(labels[: known + 1] for labels, known in growing)
            missing = [labels for labels in longer if labels not in self._heard]
            if missing:
                self._heard.update(zip(missing, self._extended(missing), strict=True))
            growing = [(labels, known + 1) for labels, known in growing]
        for labels in wanted:
            if labels not in self._known:
                prefix = self._heard[labels]
                alone = float(np.logaddexp(prefix.in_phoneme[-1], prefix.in_blank[-1]))
                self._known[labels] = max(prefix.begun, _FLOOR), max(alone, _FLOOR)

    def _extended(self, longer: Sequence[tuple[int, ...]]) -> list[_Prefix]:
        """The prefixes of sequences, all but the last phoneme of which are known."""
        before = [self._heard[labels[:-1]] for labels in longer]
        found = extend_prefixes(
            self._log_probs,
            np.stack([state.in_phoneme for state in before]),
            np.stack([state.in_blank for state in before]),
            np.array([labels[-2] if len(labels) > 1 else BLANK for labels in longer]),
            np.array([labels[-1] for labels in longer]),
        )
        return [_Prefix(*rows) for rows in zip(*found, strict=True)]

    def _begun_with(self, text: str) -> tuple[int, ...]:
        """The phonemes that ``text``, which may go on, begins with for certain."""
        goes_on = text[-1:].isascii() and text[-1:].isalpha()
        return self._sounds(text, _UNCERTAIN if goes_on else 0)

    def _sounds(self, text: str, uncertain: int = 0) -> tuple[int, ...]:
        """The phonemes of ``text`` but for the last ``uncertain`` of its last token; what has none is passed
        over.
        """
        if (text, uncertain) not in self._labels:
            start, before = self._settled
            # How a number is read depends on all of the text.
            if not text.startswith(start) or holds_number(text):
                start, before = "", ()
            said = [token.phonemes for token in tokenize(spoken_form(text[len(start) :]))]
            if said and uncertain:
                said[-1] = said[-1][:-uncertain]
            labels = TABLE.encode(phoneme for phonemes in said for phoneme in phonemes)
            self._labels[text, uncertain] = (*before, *labels)
        return self._labels[text, uncertain]


class HintBooster:
    """Draws one utterance's texts to its ``hints``: each phoneme of one that is being written adds
    ``weight``.

    A hint counts once. One that is begun and then left gives back what it was given, as in the context graphs
    of shallow fusion (Zhao et al. 2019, doi 10.21437/Interspeech.2019-1209). ``tokens_of`` gives the tokens
    of a text.
    """

    def __init__(
        self,
        hints: Sequence[str],
        weight: float,
        text_of: Callable[[Sequence[int]], str],
        tokens_of: Callable[[str], Sequence[int]],
        end: int,
    ) -> None:
        self._text_of, self._tokens_of, self._end = text_of, tokens_of, end
        # A hint of another script has no sound that could be weighed: it stays in the prompt and is worth
        # nothing here.
        self._hints = [_Hint(hint, weight * sounds) for hint in hints if (sounds := _sounds_in(hint))]

    def suggestions(self, written: Sequence[int]) -> set[int]:
        """The tokens that would begin a hint after ``written``, or go on with one."""
        text = self._text_of(written).casefold()
        rests: set[str] = set()
        for hint in self._hints:
            for form in hint.forms:
                begun = _begun(text, form)
                rests |= {form[begun:]} if begun else {form, " " + form}
        return {tokens[0] for rest in rests if (tokens := self._tokens_of(rest))}

    def gains(self, written: Sequence[int], candidates: Sequence[int]) -> list[float]:
        """What each of ``candidates`` adds when it follows ``written``."""
        text = self._text_of(written)
        before = self._drawn(text)
        return [
            self._drawn(
                text if candidate == self._end else self._text_of([*written, candidate]),
                candidate == self._end,
            )
            - before
            for candidate in candidates
        ]

    def _drawn(self, text: str, ended: bool = False) -> float:
        """The worth of the hints in ``text``, and a share of that of the best one it ends in the middle
        of.
        """
        text = text.casefold()
        letters = _letters(text)
        worth = share = 0.0
        for hint in self._hints:
            if hint.stands_in(text, letters):
                worth += hint.worth
            elif not ended:
                share = max(share, hint.worth * max(_begun(text, form) / len(form) for form in hint.forms))
        return worth + share


class _Hint:
    """A hint, what it is worth, and the forms in which a language model may write it: as given, and as it is
    said.
    """

    def __init__(self, text: str, worth: float) -> None:
        self.worth = worth
        self._text = text
        said = [normalize(form) for form in (text, *spoken_forms(text))]
        self.forms = tuple(dict.fromkeys(form for form in (text.casefold(), *said, *map(fold, said)) if form))
        self._letters = tuple(map(_letters, self.forms))

    def stands_in(self, text: str, letters: str) -> bool:
        """Whether the hint stands in ``text``, of the given letters."""
        # Asked for every token that might be next: most texts do not even hold its letters.
        return any(own in letters for own in self._letters) and stands_in(self._text, text)


class FusedScorer:
    """Both guides of one utterance, either of which may be missing.

    They choose among the language model's likeliest ``candidates``, the ``end`` and what would go on with a
    hint.
    """

    def __init__(
        self, sound: PhonemeScorer | None, hints: HintBooster | None, candidates: int, end: int
    ) -> None:
        self._sound, self._hints, self._candidates, self._end = sound, hints, candidates, end

    @property
    def monotone(self) -> bool:
        """Whether the score of a text can only fall as it grows: hints add to it."""
        return self._hints is None

    def candidates(self, written: Sequence[int], log_probs: Floats) -> tuple[list[int], NDArray[np.float64]]:
        """The tokens that may follow ``written``, and the score of each: its log probability and what it
        gains.

        ``log_probs`` (V,) are the language model's.
        """
        most = min(self._candidates, len(log_probs))
        choice = {*np.argpartition(-log_probs, most - 1)[:most].tolist(), self._end}
        if self._hints:
            choice |= self._hints.suggestions(written)
        ids = sorted(choice)
        return ids, log_probs[ids] + self.gains(written, ids)

    def gains(self, written: Sequence[int], ids: Sequence[int]) -> NDArray[np.float64]:
        """What each of the tokens ``ids`` gains when it follows ``written``."""
        gains = [guide.gains(written, ids) for guide in (self._sound, self._hints) if guide]
        total: NDArray[np.float64] = np.array(gains).sum(axis=0)
        return total


def fused_scorer(
    tokenizer: Tokenizer,
    config: DecodingConfig,
    beams: int,
    log_probs: Floats | None,
    hints: Sequence[str],
) -> FusedScorer | None:
    """What guides the text of one utterance: hints and, with them or with several beams, ``log_probs`` (T,
    phonemes) of the phoneme head; None if nothing does.
    """
    hinted = config.hint_weight > 0 and len(hints) > 0
    if not hinted and beams == 1:
        return None
    sound = None
    if log_probs is not None and config.phoneme_weight > 0:
        sound = PhonemeScorer(log_probs, config.phoneme_weight, tokenizer.decode, tokenizer.end)
    drawn = (
        HintBooster(hints, config.hint_weight, tokenizer.decode, tokenizer.encode, tokenizer.end)
        if hinted
        else None
    )
    return FusedScorer(sound, drawn, config.candidates, tokenizer.end) if sound or drawn else None


def _sounds_in(hint: str) -> int:
    """How many phonemes a hint has; 0 if a part of it has no pronunciation."""
    try:
        return len(pronounce(hint))
    except ValueError:
        return 0


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _begun(text: str, hint: str) -> int:
    """How many characters of the hint the text ends in, but for all of them."""
    place = text.find(hint[0], max(0, len(text) - len(hint) + 1))
    while place >= 0:
        if hint.startswith(text[place:]) and not in_word(text, place):
            return len(text) - place
        place = text.find(hint[0], place + 1)
    return 0
