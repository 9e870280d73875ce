"""What guides the text that the language model writes, token by token: the sound, and hints.

How well a text agrees with the sound is ``nim4asr.recognition.phoneme_scorer``'s. A hint in the prompt says
that a name may be there; a small language model often writes a commoner one of the same sound all the same.
So the text's score rises with every part of a hint that it holds.
"""

from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import pronounce
from nim4asr.recognition.phoneme_scorer import PhonemeScorer
from nim4asr.text.characters import fold, in_word
from nim4asr.text.normalization import normalize
from nim4asr.text.occurrences import stands_in
from nim4asr.text.spoken import spoken_forms

# So many more continuations than are wanted are listened to at first.
_MORE = 8

_Scores = NDArray[np.float64]


class HintBooster:
    """Draws one utterance's texts to its ``hints``: each phoneme of one that is being written adds
    ``weight``.

    A hint counts once. One that is begun and then left gives back what it was given, as in the context graphs
    of shallow fusion (Zhao et al. 2019, doi 10.21437/Interspeech.2019-1209).
    """

    def __init__(self, hints: Sequence[str], weight: float) -> None:
        # A hint of another script has no sound that could be weighed: it stays in the prompt and is worth
        # nothing here.
        self._hints = [_Hint(hint, weight * sounds) for hint in hints if (sounds := _sounds_in(hint))]

    def suggestions(self, text: str) -> set[str]:
        """What would begin a hint behind ``text``, or go on with one."""
        text = text.casefold()
        rests: set[str] = set()
        for hint in self._hints:
            for form in hint.forms:
                begun = _begun(text, form)
                rests |= {form[begun:]} if begun else {form, " " + form}
        return rests

    def gains(self, texts: Sequence[str], rows: Sequence[int], longer: Sequence[str | None]) -> _Scores:
        """What a text gains by each of its continuations (N,): that in row ``rows[i]`` of ``texts`` becomes
        ``longer[i]``, or ends as it is if that is None.
        """
        before = [self._drawn(text) for text in texts]
        gained = [
            (self._drawn(texts[row], ended=True) if text is None else self._drawn(text)) - before[row]
            for row, text in zip(rows, longer, strict=True)
        ]
        return np.array(gained)

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


class Continuation(NamedTuple):
    """What may become of a text: its score with a token more, its row among the texts, the token."""

    score: float
    row: int
    token: int


def likeliest(scores: Sequence[float], log_probs: Floats, most: int) -> list[Continuation]:
    """The best ``most`` continuations of texts with these ``scores`` (B,) that the language model alone would
    choose, the best first; ``log_probs`` (B, V) are of what follows each.
    """
    rows, tokens = _choice(log_probs, most)
    return _best(np.array(scores)[rows] + log_probs[rows, tokens], rows, tokens, most)


class FusedScorer:
    """The guides of one utterance's texts, ``sound`` and ``hints``, either of which may be missing.

    They choose among the language model's likeliest tokens, as many as ``config.candidates``, the end, and
    what would go on with a hint.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        sound: PhonemeScorer | None,
        hints: HintBooster | None,
    ) -> None:
        self._tokenizer, self._candidates = tokenizer, config.candidates
        self._sound, self._hints = sound, hints

    @property
    def monotone(self) -> bool:
        """Whether the score of a text can only fall as it grows: hints add to it."""
        return self._hints is None

    def best(
        self,
        written: Sequence[Sequence[int]],
        texts: Sequence[str],
        scores: Sequence[float],
        log_probs: Floats,
        most: int,
    ) -> list[Continuation]:
        """The best ``most`` continuations of ``texts``, the best first.

        They are of the tokens ``written`` and have these ``scores`` (B,); ``log_probs`` (B, V) are the
        language model's. A token adds its log probability and what it gains.
        """
        rows, tokens = _choice(log_probs, self._candidates, [self._always(text) for text in texts])
        end = self._tokenizer.end
        longer = [
            None if token == end else self._tokenizer.grown(texts[row], written[row], token)
            for row, token in zip(rows, tokens, strict=True)
        ]
        total: _Scores = np.array(scores)[rows] + log_probs[rows, tokens]
        if self._hints is not None:
            total += self._hints.gains(texts, rows, longer)
        if self._sound is not None:
            total = _with_sound(self._sound, texts, rows, longer, total, most)
        return _best(total, rows, tokens, most)

    def ending(self, text: str) -> float:
        """What ``text`` gains by its end."""
        gained = 0.0 if self._sound is None else self._sound.ending(text)
        return gained if self._hints is None else gained + float(self._hints.gains([text], [0], [None])[0])

    def _always(self, text: str) -> set[int]:
        """Tokens that are weighed however unlikely they are: the end, and what would go on with a hint."""
        always = {self._tokenizer.end}
        if self._hints is not None:
            always |= {
                ids[0] for rest in self._hints.suggestions(text) if (ids := self._tokenizer.encode(rest))
            }
        return always


def _with_sound(
    sound: PhonemeScorer,
    texts: Sequence[str],
    rows: Sequence[int],
    longer: Sequence[str | None],
    total: _Scores,
    most: int,
) -> _Scores:
    """``total`` (N,) and what the sound adds; minus infinity for what cannot be among the best ``most``.

    Listening takes the most time of a step, so those are heard first that may be the best.
    """
    at_most = total + sound.begin(texts)[rows]
    order = np.argsort(-at_most)
    found = np.full(len(total), -np.inf)

    def hear(some: NDArray[np.int64]) -> None:
        found[some] = total[some] + sound.gains([rows[i] for i in some], [longer[i] for i in some])

    hear(order[: most + _MORE])
    if len(rest := order[most + _MORE :]):
        hear(rest[at_most[rest] >= np.partition(found, -most)[-most]])
    return found


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
        sound = PhonemeScorer(log_probs, config.phoneme_weight)
    drawn = HintBooster(hints, config.hint_weight) if hinted else None
    return FusedScorer(tokenizer, config, sound, drawn) if sound or drawn else None


def _choice(
    log_probs: Floats, most: int, always: Sequence[Set[int]] | None = None
) -> tuple[list[int], list[int]]:
    """The likeliest tokens of each row of ``log_probs`` (B, V), ``most`` of them or all, and those that are
    ``always`` weighed: rows and tokens (N,), ascending.
    """
    most = min(most, log_probs.shape[1])
    likely = np.argpartition(-log_probs, most - 1, axis=1)[:, :most].tolist()
    chosen = [sorted({*own, *(always[row] if always else ())}) for row, own in enumerate(likely)]
    rows = [row for row, own in enumerate(chosen) for _ in own]
    return rows, [token for own in chosen for token in own]


def _best(scores: _Scores, rows: Sequence[int], tokens: Sequence[int], most: int) -> list[Continuation]:
    order = np.argsort(-scores, kind="stable")[:most].tolist()
    return [Continuation(float(scores[i]), rows[i], tokens[i]) for i in order]


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
