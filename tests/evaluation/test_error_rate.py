from hypothesis import given
from hypothesis import strategies as st

from nim4asr.evaluation.error_rate import ErrorCount, align

WORDS = st.lists(st.sampled_from("abc"), max_size=8)


def distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = _step(row, i, x, b)
    return row[-1]


def _step(row: list[int], i: int, x: str, b: list[str]) -> list[int]:
    new = [i]
    for j, y in enumerate(b, 1):
        new.append(min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (x != y)))
    return new


@given(WORDS, WORDS)
def test_edits_are_fewest_and_lead_from_one_to_the_other(said: list[str], heard: list[str]) -> None:
    edits = align(said, heard)
    assert [e.reference for e in edits if e.reference] == said
    assert [e.hypothesis for e in edits if e.hypothesis] == heard
    count = ErrorCount.between(said, heard)
    assert count.errors == distance(said, heard)
    assert count.reference == len(said)


def test_counts_add_up() -> None:
    total = ErrorCount.between("abc", "axc") + ErrorCount.between("ab", "abb") + ErrorCount.between("a", "")
    assert (total.substitutions, total.insertions, total.deletions) == (1, 1, 1)
    assert total.rate == 3 / 6


def test_no_reference_no_rate() -> None:
    assert ErrorCount.between([], ["a"]).rate is None
