"""Listed names: which were said, which were written, and what the hints did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nim4asr.recognition.result import Transcript
from nim4asr.text.occurrences import Names, occurrences_in_words, stands_in


class NameList:
    """The names of a list, to be found in texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._names = Names(texts)

    def said(self, words: Sequence[str]) -> set[str]:
        """The names in a text of tokens ``words``, but for those that are part of a longer one at the same
        place.
        """
        found = self._names.find_in_words(words)
        places = {(place.start, place.end) for place in found}
        return {
            name
            for name, start, end in found
            if not any(a <= start and end <= b and (a, b) != (start, end) for a, b in places)
        }


@dataclass(frozen=True)
class EntityCount:
    """Counts that add up: names ``said``, those of them ``heard`` (likelier than not) and ``written``;
    ``hints`` given, those of them ``right``, which is said; and hints printed that nobody said, ``false``.
    """

    said: int = 0
    heard: int = 0
    written: int = 0
    hints: int = 0
    right: int = 0
    false: int = 0

    def __add__(self, other: "EntityCount") -> "EntityCount":
        return EntityCount(
            self.said + other.said,
            self.heard + other.heard,
            self.written + other.written,
            self.hints + other.hints,
            self.right + other.right,
            self.false + other.false,
        )

    @classmethod
    def of(cls, names: NameList, reference: Sequence[str], transcript: Transcript) -> "EntityCount":
        """Of one utterance, whose reference has the tokens ``reference``."""
        said = names.said(reference)
        heard = {hit.text for segment in transcript.segments for hit in segment.hits if hit.evidence >= 0}
        hints = {hint for segment in transcript.segments for hint in segment.hints}
        used = {hint for segment in transcript.segments for hint in segment.hints_used}
        right = {hint for hint in hints if occurrences_in_words(hint, reference)}
        return cls(
            len(said),
            len(said & heard),
            sum(stands_in(name, transcript.text) for name in said),
            len(hints),
            len(right),
            len(used - right),
        )
