from nim4asr.phonemes.english import dictionary
from nim4asr.phonemes.spelling import SpellingRules

WORDS = {
    "cat": ["K", "AE", "T"],
    "cats": ["K", "AE", "T", "S"],
    "bat": ["B", "AE", "T"],
    "tab": ["T", "AE", "B"],
    "tax": ["T", "AE", "K", "S"],
    "bax": ["B", "AE", "K", "S"],
    "cab": ["K", "AE", "B"],
}


def test_learns_which_letter_says_what() -> None:
    rules = SpellingRules.learn(WORDS)
    assert rules.say("bac") == ["B", "AE", "K"]
    assert rules.say("tabs")[:3] == ["T", "AE", "B"]


def test_text_form_is_a_round_trip() -> None:
    rules = SpellingRules.learn(WORDS)
    again = SpellingRules.parse(rules.dump())
    assert [again.say(word) for word in WORDS] == [rules.say(word) for word in WORDS]


def test_the_packaged_rules_are_right_for_regular_words() -> None:
    from nim4asr.phonemes.english import _spelling_rules

    rules = _spelling_rules()
    words = [w for w in list(dictionary())[::400] if w.isalpha() and len(w) > 3]
    errors = total = 0
    for word in words:
        from nim4asr.evaluation.error_rate import ErrorCount

        count = ErrorCount.between(dictionary()[word][0], rules.say(word))
        errors, total = errors + count.errors, total + count.reference
    assert errors / total < 0.2
