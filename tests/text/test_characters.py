from nim4asr.text.characters import fold, in_word, is_han, is_spaceless


def test_where_a_word_goes_on() -> None:
    assert in_word("airport", 3) and not in_word("air port", 3) and not in_word("去port", 1)
    assert in_word("a12", 2) and not in_word("port", 0) and not in_word("port", 4)
    assert not in_word("アンナ", 1) and in_word("Москва", 3)


def test_scripts_without_spaces() -> None:
    assert all(map(is_spaceless, "中々〇𠀀かアｱー한ไာ")) and not any(map(is_spaceless, "aé3я -。"))
    assert all(map(is_han, "中〇𠀀")) and not any(map(is_han, "aア한。"))


def test_letters_without_accents() -> None:
    assert [fold(word) for word in ("Zürich", "Straße", "Łódź", "plain")] == [
        "Zurich",
        "Strasse",
        "Lodz",
        "plain",
    ]
