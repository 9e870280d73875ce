import numpy as np
import pytest

from nim4asr.phonemes import TABLE
from nim4asr.recognition.words import time_words


def certain(phonemes: list[str], each: int = 5) -> np.ndarray:
    """Posteriors of a head that is sure: each phoneme on its frame, blanks between."""
    log_probs = np.full((each * (len(phonemes) + 1), len(TABLE)), -20.0, np.float32)
    log_probs[:, 0] = 0.0
    for place, index in enumerate(TABLE.encode(phonemes), 1):
        log_probs[each * place, 0], log_probs[each * place, index] = -20.0, 0.0
    return log_probs


def test_word_times_are_those_of_their_phonemes() -> None:
    log_probs = certain("n i3 h ao3 HH AH L OW".split())
    words = time_words("你好 hello", log_probs, 10.0, 12.0, 0.04)
    assert [w.text for w in words] == ["你", "好", "hello"]
    assert [round(w.start - 10, 2) for w in words] == [0.2, 0.6, 1.0]
    assert words[2].end == pytest.approx(10 + 41 * 0.04)
    assert all(w.confidence == pytest.approx(1.0) for w in words)


def test_words_that_do_not_fit_are_spread() -> None:
    words = time_words("你好世界", certain([])[:3], 1.0, 3.0, 0.04)
    assert [w.start for w in words] == [1.0, 1.5, 2.0, 2.5]
    assert {w.confidence for w in words} == {0.0}


def test_a_word_without_sound_takes_no_time() -> None:
    words = time_words("你Щ好", certain("n i3 h ao3".split()), 0.0, 1.0, 0.04)
    assert words[1].start == words[1].end == words[0].end
