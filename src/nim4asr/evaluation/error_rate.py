"""Error rates: the edits between what was said and what was recognized."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Edit(NamedTuple):
    """One place of an alignment; ``reference`` or ``hypothesis`` is empty where nothing stands."""

    kind: Literal["equal", "replace", "delete", "insert"]
    reference: str
    hypothesis: str


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Edit]:
    """A shortest alignment of two token sequences (Levenshtein)."""
    from rapidfuzz.distance import Levenshtein

    edits: list[Edit] = []
    for op in Levenshtein.opcodes(reference, hypothesis):
        said = reference[op.src_start : op.src_end]
        heard = hypothesis[op.dest_start : op.dest_end]
        if op.tag == "equal":
            edits += [Edit("equal", r, h) for r, h in zip(said, heard, strict=True)]
        elif op.tag == "replace":
            edits += [Edit("replace", r, h) for r, h in zip(said, heard, strict=True)]
        elif op.tag == "delete":
            edits += [Edit("delete", r, "") for r in said]
        else:
            edits += [Edit("insert", "", h) for h in heard]
    return edits


@dataclass(frozen=True)
class ErrorCount:
    """Edits over any number of utterances; adds up with ``+``."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0

    @classmethod
    def between(cls, reference: Sequence[str], hypothesis: Sequence[str]) -> "ErrorCount":
        """The edits from ``reference`` to ``hypothesis``, of tokens."""
        return cls.of(align(reference, hypothesis))

    @classmethod
    def of(cls, edits: Sequence[Edit]) -> "ErrorCount":
        """The count of an alignment."""
        kinds = [edit.kind for edit in edits]
        inserted = kinds.count("insert")
        return cls(kinds.count("replace"), kinds.count("delete"), inserted, len(kinds) - inserted)

    def __add__(self, other: "ErrorCount") -> "ErrorCount":
        return ErrorCount(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference + other.reference,
        )

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Edits for each token of the reference; None if there is no reference to compare with."""
        return self.errors / self.reference if self.reference else None
