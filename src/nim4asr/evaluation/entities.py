"""Listed names: which were said, which were written, and what the hints did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nim4asr.recognition.result import Transcript
from nim4asr.text.characters import is_han
from nim4asr.text.normalization import tokens

# Names of more tokens are not looked for in references.
_LONGEST = 16


class NameList:
    """The names of a list, to be found in texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        # A text in Chinese characters alone has no other tokens, and there may be a million of them.
        self._names = {
            " ".join(text) if all(map(is_han, text)) else " ".join(tokens(text)): text for text in texts
        }
        self._names.pop("", None)

    def said(self, words: Sequence[str]) -> set[str]:
        """The names in a text of tokens ``words``, but for those that are part of a longer one at the same
        place.
        """
        found = {
            (start, end): name
            for start in range(len(words))
            for end in range(start + 1, min(len(words), start + _LONGEST) + 1)
            if (name := self._names.get(" ".join(words[start:end]))) is not None
        }
        return {
            name
            for (start, end), name in found.items()
            if not any(a <= start and end <= b and (a, b) != (start, end) for a, b in found)
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
        written = tokens(transcript.text)
        heard = {hit.text for segment in transcript.segments for hit in segment.hits if hit.evidence >= 0}
        hints = {hint for segment in transcript.segments for hint in segment.hints}
        used = {hint for segment in transcript.segments for hint in segment.hints_used}
        right = {hint for hint in hints if _within(tokens(hint), reference)}
        return cls(
            len(said),
            len(said & heard),
            sum(_within(tokens(name), written) for name in said),
            len(hints),
            len(right),
            len(used - right),
        )


def _within(part: Sequence[str], whole: Sequence[str]) -> bool:
    return any(
        list(whole[i : i + len(part)]) == list(part) for i in range(len(whole) - len(part) + 1) if part
    )
