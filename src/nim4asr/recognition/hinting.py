"""From names to hints: what a recording or a stream listens for, what goes into the prompt, what may be
printed.

Names of an index are hints where they were heard (``nim4asr.hotwords.hints``); names that the caller gives
outright are hints wherever anyone speaks. A hint can only add what was heard: a text written with hints
stands if one of them is in it, and none is where nothing like it was said; else the text written without them
does.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nim4asr.errors import InputError
from nim4asr.hotwords.hints import HintConfig, Hit, choose
from nim4asr.hotwords.names import Name
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.model.prompt import MOST_HINTS
from nim4asr.phonemes import BLANK
from nim4asr.recognition.result import Segment
from nim4asr.text.occurrences import occurrences_in_words

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex, HotwordSearch

# So many seconds a word may seem to stand beside the place where it was heard.
_BESIDE = 0.3


@dataclass(frozen=True)
class HintPolicy:
    """``hotwords`` to listen for, names ``given`` as hints outright, and how hits become hints.

    Of the hotwords as they are when it is made: later changes of the index do not reach it. Raises
    ``InputError`` for hotwords that are no index, and for hints that are no names or too many.
    """

    hotwords: "HotwordIndex | None" = None
    given: tuple[str, ...] = ()
    config: HintConfig = field(default_factory=HintConfig)

    def __post_init__(self) -> None:
        if len(self.given) > MOST_HINTS:
            raise InputError(f"at most {MOST_HINTS} hints can be given, not {len(self.given)}")
        if not all(hint.strip() for hint in self.given):
            raise InputError("a hint is a name; an empty one says nothing")
        for hint in self.given:
            # What makes a name makes a hint.
            Name(hint)
        if self.hotwords is not None:
            if not callable(getattr(self.hotwords, "over", None)):
                raise InputError(
                    f"hotwords are a HotwordIndex, not {type(self.hotwords).__name__}; "
                    'HotwordIndex.load("names.txt") reads a list'
                )
            # The names that there are now, whatever becomes of the caller's index.
            object.__setattr__(self, "hotwords", self.hotwords.over())

    def listen(self, frame_s: float, evidence: EvidenceConfig | None = None) -> "HintTracker":
        """A tracker for one segment, as heard by a model whose frames last ``frame_s`` seconds and whose hits
        say what ``evidence`` has them say.
        """
        return HintTracker(self, frame_s, evidence)


def as_hints(hints: object) -> tuple[str, ...]:
    """Hints as a caller gives them; None is none. Raises ``InputError`` for one text, which is not several of
    a character each, and for what holds anything but texts.
    """
    if hints is None:
        return ()
    if isinstance(hints, str | bytes):
        raise InputError(f"hints are a list of names, not one text; give [{hints!r}]")
    if not isinstance(hints, Iterable):
        raise InputError(f"hints are a list of names, not {type(hints).__name__}")
    names = tuple(hints)
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"a hint is a name, not {name!r}")
    return names


@dataclass(frozen=True)
class HintResult:
    """What was heard of the names in a segment, and the ``hints`` to be given; times from the segment's
    start.
    """

    hits: tuple[Hit, ...] = ()
    hints: tuple[str, ...] = ()


class HintTracker:
    """Listens for the names in one segment; ``given`` are hints whatever is heard.

    ``voiced`` says whether any phoneme was heard.
    """

    def __init__(self, hinting: HintPolicy, frame_s: float, evidence: EvidenceConfig | None = None) -> None:
        self._hinting, self._frame_s, self._evidence = hinting, frame_s, evidence
        self.given = hinting.given
        self._config = hinting.config
        self._search: HotwordSearch | None = (
            None if hinting.hotwords is None else hinting.hotwords.listen(frame_s, evidence)
        )
        self.voiced = False

    def again(self) -> "HintTracker":
        """A tracker for the same names that has heard nothing."""
        fresh = HintTracker(self._hinting, self._frame_s, self._evidence)
        fresh.given = self.given
        return fresh

    def feed(self, log_probs: NDArray[np.float32]) -> None:
        """Hear the next log posteriors (T, phonemes)."""
        if self._search is not None:
            self._search.feed(log_probs)
        self.voiced |= bool((log_probs.argmax(axis=-1) != BLANK).any())

    def heard(self, draft: str = "") -> HintResult:
        """The hits so far and the hints they make, but for names that stand in ``draft``; none without a
        voice.
        """
        if not self.voiced:
            return HintResult()
        hits = self._search.hits() if self._search is not None else []
        chosen = [hit.text for hit in choose(hits, self._config, draft)]
        hints = tuple(dict.fromkeys([*self.given, *chosen]))[: max(len(self.given), self._config.max_hints)]
        return HintResult(tuple(hits), hints)


def with_hits(segment: Segment, heard: HintResult) -> Segment:
    """The segment with what was heard of the names in it."""
    hits = (replace(hit, start=hit.start + segment.start, end=hit.end + segment.start) for hit in heard.hits)
    return replace(segment, hits=tuple(hits), hints=heard.hints)


def confirmed_by_audio(segment: Segment, log_probs: NDArray[np.float32], frame_s: float) -> bool:
    """Whether a text that was written with hints may stand: it holds one, and none where nothing like it is
    heard.

    ``log_probs`` (T, phonemes) are the segment's log posteriors, one every ``frame_s`` seconds. A text in
    which no hint stands has no use for them, and is better written without.
    """
    return bool(segment.hints_used) and not contradicted(segment, log_probs, frame_s)


def contradicted(segment: Segment, log_probs: NDArray[np.float32], frame_s: float) -> bool:
    """Whether a hint stands in the text where nothing like it is heard.

    A hint without a pronunciation cannot be contradicted.
    """
    words = [word.text for word in segment.words]
    printed = {
        hint: [
            (segment.words[first].start, segment.words[last - 1].end)
            for first, last in occurrences_in_words(hint, words)
        ]
        for hint in segment.hints_used
    }
    if not printed:
        return False
    spots = _spots(segment, list(printed), log_probs, frame_s)
    return not all(
        any(word_start - _BESIDE < end and start - _BESIDE < word_end for start, end in spots[hint])
        for hint, places in printed.items()
        if hint in spots
        for word_start, word_end in places
    )


def _spots(
    segment: Segment, hints: Sequence[str], log_probs: NDArray[np.float32], frame_s: float
) -> dict[str, list[tuple[float, float]]]:
    """Where each hint may have been said, heard with a much wider tolerance than a search; none that has no
    sound.
    """
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.hotwords.search import SearchConfig

    wide = SearchConfig(
        cost_budget=3.0,
        cost_per_phoneme=1.25,
        max_frame_cost=6.0,
        beam_width=256,
        min_phonemes=1,
        min_log_odds=-math.inf,
    )
    index = HotwordIndex(config=wide)
    unpronounceable = index.add(Name(hint) for hint in hints)
    spots: dict[str, list[tuple[float, float]]] = {hint: [] for hint in hints if hint not in unpronounceable}
    start = segment.start
    heard = [(hit.text, hit.start + start, hit.end + start) for hit in index.search(log_probs, frame_s)]
    for text, begin, end in [*heard, *((hit.text, hit.start, hit.end) for hit in segment.hits)]:
        if text in spots:
            spots[text].append((begin, end))
    return spots
