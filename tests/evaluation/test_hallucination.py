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
        # Letter soup, however short: a word that is none, and a text that goes round in circles.
        ("a b c d e f", "a b " + "jeb" + "bobo" * 11, True),
        ("a b c", "and the man and the man and the man and the man and", True),
        ("no no no no", "no no no no", False),
        ("how much wood", "how much wood would a woodchuck", False),
        ("ha " * 12, "ha " * 12, False),
        ("ha", "ha " * 12, True),
    ],
)
def test_the_definition(said: str, written: str, hallucinated: bool) -> None:
    assert is_hallucination(said.split(), written.split()) is hallucinated
