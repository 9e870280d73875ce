import pytest

from nim4asr.phonemes.english import dictionary, letters, readings


def said(word: str) -> list[str]:
    return [" ".join(phonemes) for phonemes in readings(word)]


def test_dictionary_words() -> None:
    assert len(dictionary()) > 120_000
    assert said("hello")[0] in ("HH AH L OW", "HH EH L OW")
    assert len(said("either")) == 2
    assert said("don't")[0] == "D OW N T"
    assert said("don’t") == said("don't")


def test_an_acronym_is_letters_and_a_word() -> None:
    nio = said("NIO")
    assert nio[0] == "EH N AY OW"
    assert len(nio) == 2
    assert said("NASA")[0] == "N AE S AH"
    assert "EH N EY EH S EY" in said("NASA")
    assert said("BBC") == ["B IY B IY S IY"]
    assert "AY B IY EH M" in said("IBM")


def test_lower_case_without_vowels_is_letters() -> None:
    assert said("xkcdf") == ["EH K S K EY S IY D IY EH F"]


def test_unknown_words_are_compounds_plurals_or_spelt() -> None:
    assert said("catfishhouse") == [f"{said('catfish')[0]} {said('house')[0]}"]
    assert said("blorp") == ["B L AO R P"]
    assert said("iphone's")[0].endswith("Z")


@pytest.mark.parametrize("word", ["", "--", "'", "123"])
def test_no_letters_no_sound(word: str) -> None:
    assert readings(word) == ()


def test_letters() -> None:
    assert " ".join(letters("WX")) == "D AH B AH L Y UW EH K S"


def test_a_word_that_no_rule_gives_a_sound_is_spelled() -> None:
    assert readings("ewww") == (letters("ewww"),)
