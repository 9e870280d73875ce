import pytest

from nim4asr.evaluation.hallucination import is_hallucination


@pytest.mark.parametrize(
    ("said", "written", "hallucinated"),
    [
        ("", "", False),
        ("", "thank you", True),
        ("a b", "c d e f", True),
        ("a b", "a b c d e f", False),  # long, but the words are there
        ("a b c", "x y z", False),  # all wrong, but no longer than what was said
        ("a b", "", False),
    ],
)
def test_the_definition(said: str, written: str, hallucinated: bool) -> None:
    assert is_hallucination(said.split(), written.split()) is hallucinated
