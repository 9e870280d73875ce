import itertools
import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.phonemes import TABLE, pronounce
from nim4asr.phonemes.ctc import greedy_path
from nim4asr.recognition.fusion import FusedScorer, HintBooster, PhonemeScorer

END = 0
TOKENS = ["", "你", "好", "泥", "the", " wind", " win", "d", "!"]


def text_of(tokens: Sequence[int]) -> str:
    return "".join(TOKENS[one] for one in tokens)


def heard(phonemes: Sequence[str]) -> np.ndarray:
    """Log posteriors in which ``phonemes`` are heard, each in a frame, a blank after each."""
    log_probs = np.full((2 * len(phonemes) + 1, len(TABLE)), -8.0, np.float32)
    log_probs[0::2, 0] = -0.1
    log_probs[np.arange(1, len(log_probs), 2), TABLE.encode(phonemes)] = -0.1
    return log_probs


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(0, 6),
    text=st.lists(st.integers(1, 2), max_size=2),
    seed=st.integers(0, 1000),
)
def test_gains_add_up_to_the_sum_of_all_paths(frames: int, text: list[int], seed: int) -> None:
    """Of all paths that begin with the text's phonemes, and with the end of those that hold no more."""
    logits = np.random.default_rng(seed).standard_normal((frames, len(TABLE)))
    # So that six phonemes are all there are.
    used = [0, *TABLE.encode([*pronounce("你好"), "AA"])]
    table = np.full_like(logits, -np.inf)
    table[:, used] = logits[:, used] - np.log(np.exp(logits[:, used]).sum(1, keepdims=True))
    guide = PhonemeScorer(table.astype(np.float32), 1.0, text_of, END)
    wanted = TABLE.encode(pronounce(text_of(text))) if text else []
    begun = whole = 0.0
    for path in itertools.product(used, repeat=frames):
        labels = greedy_path(path)
        probability = float(np.exp(sum(table[t, s] for t, s in enumerate(path))))
        begun += probability * (labels[: len(wanted)] == wanted)
        whole += probability * (labels == wanted)
    total = sum(guide.gains(text[:i], [one])[0] for i, one in enumerate(text))
    (end,) = guide.gains(text, [END])
    if begun > 0:
        assert total == pytest.approx(np.log(begun), abs=1e-3)
    if whole > 0:
        assert total + end == pytest.approx(np.log(whole), abs=1e-3)
    else:
        assert total + end < -1000


def test_what_was_said_gains_over_what_was_not() -> None:
    guide = PhonemeScorer(heard(pronounce("你好")), 0.5, text_of, END)
    you, good, mud, end = guide.gains([], [1, 2, 3, END])
    assert you > good and you > end
    # Said alike but for the tone.
    assert you > mud
    good, end = guide.gains([1], [2, END])
    assert good > end
    again, end = guide.gains([1, 2], [1, END])
    assert end > again
    assert PhonemeScorer(heard(pronounce("你好")), 1.0, text_of, END).gains([], [1]) == [
        pytest.approx(2 * you)
    ]


def test_the_end_of_a_word_counts_when_it_is_complete() -> None:
    guide = PhonemeScorer(heard(pronounce("the wind")), 1.0, text_of, END)
    (the,) = guide.gains([], [4])
    assert the == 0.0
    # Now "the" is complete, and the W of "win" is certain.
    wind, win = guide.gains([4], [5, 6])
    assert wind < win < 0.0
    (d,) = guide.gains([4, 6], [7])
    assert win + d == pytest.approx(wind)
    right, wrong = guide.gains([4, 5], [END])[0] + wind, guide.gains([4, 6], [END])[0] + win
    assert right > wrong


def test_a_word_without_end_pays_on_the_way() -> None:
    guide = PhonemeScorer(heard(pronounce("你好")), 1.0, text_of, END)
    paid = [guide.gains([4] * i, [4])[0] for i in range(5)]
    assert paid[0] == 0.0 and sum(paid) < -20


def test_what_has_no_sound_weighs_nothing() -> None:
    guide = PhonemeScorer(heard(pronounce("你好")), 1.0, text_of, END)
    assert guide.gains([1], [8]) == [0.0]
    assert PhonemeScorer(np.zeros((0, len(TABLE)), np.float32), 1.0, text_of, END).gains([], [END]) == [0.0]


def tokens_of(text: str) -> list[int]:
    """The longest token that ``text`` begins with, and those of the rest."""
    fitting = [token for token in TOKENS if token and text.startswith(token)]
    if not fitting:
        return []
    longest = max(fitting, key=len)
    return [TOKENS.index(longest), *tokens_of(text[len(longest) :])]


def hint_guide(*hints: str, weight: float = 0.5) -> HintBooster:
    return HintBooster(hints, weight, text_of, tokens_of, END)


@given(st.lists(st.integers(1, len(TOKENS) - 1), max_size=8))
def test_gains_of_hints_depend_on_the_text_alone(tokens: list[int]) -> None:
    """However it came to be, a text has in the end gained what the hints in it are worth, each once."""
    guide = hint_guide("你好", "the wind")
    gained = sum(guide.gains(tokens[:i], [one])[0] for i, one in enumerate([*tokens, END]))
    patterns = {"你好": "你好", "the wind": "(?<![a-z])the wind(?![a-z])"}
    held = [hint for hint, pattern in patterns.items() if re.search(pattern, text_of(tokens))]
    assert gained == pytest.approx(sum(0.5 * len(pronounce(hint)) for hint in held))


def test_a_hint_that_is_begun_gains_its_share_and_gives_it_back() -> None:
    guide = hint_guide("The Wind")
    begun, other = guide.gains([], [4, 1])
    assert 0 < begun < 0.5 * len(pronounce("the wind")) and other == 0.0
    assert guide.gains([4], [1, END]) == [pytest.approx(-begun)] * 2
    win, wind = guide.gains([4], [6, 5])
    assert 0 < win < wind and guide.gains([4, 6], [7]) == [pytest.approx(wind - win)]
    # Inside another word it is none.
    assert guide.gains([7], [4]) == [0.0]


def test_a_hint_is_worth_something_as_it_is_said_too() -> None:
    tokens = ["", "五", "g", "五g", "five", " g", "5", "G"]

    def spell(text: str) -> list[int]:
        return [tokens.index(text[:1])] if text[:1] in tokens[1:] else []

    guide = HintBooster(["5G"], 1.0, lambda ids: "".join(tokens[one] for one in ids), spell, END)
    whole = sum(guide.gains(ids, [one])[0] for ids, one in (([], 1), ([1], 2)))
    assert whole == pytest.approx(len(pronounce("5G")))
    assert sum(guide.gains(ids, [one])[0] for ids, one in (([], 4), ([4], 5))) == pytest.approx(whole)
    assert guide.gains([], [6])[0] > 0 and {1, 6} <= guide.suggestions([])


def test_what_goes_on_with_a_hint_is_suggested() -> None:
    guide = hint_guide("你好", "the wind")
    assert guide.suggestions([]) == {1, 4}
    assert guide.suggestions([3, 1]) == {2, 4}
    assert guide.suggestions([4, 6]) == {1, 7}


def test_guides_choose_among_the_likely_and_the_suggested() -> None:
    log_probs = np.array([-3.0, -9.0, -1.0, -0.5, -2.0, -np.inf, -4.0, -5.0, -6.0], np.float32)
    sound = PhonemeScorer(heard(pronounce("你好")), 0.5, text_of, END)
    ids, scores = FusedScorer(sound, None, 2, END).candidates([], log_probs)
    assert ids == [END, 2, 3]
    assert scores[1] - log_probs[2] == pytest.approx(sound.gains([], [2])[0], abs=1e-5)
    hints = hint_guide("你好", weight=2.0)
    ids, scores = FusedScorer(sound, hints, 2, END).candidates([], log_probs)
    assert ids == [END, 1, 2, 3]
    gains = sound.gains([], [1])[0] + hints.gains([], [1])[0]
    assert scores[1] - log_probs[1] == pytest.approx(gains, abs=1e-5)
    assert FusedScorer(sound, hints, 2, END).gains([], [1])[0] == pytest.approx(gains)


def test_a_hint_without_a_pronunciation_draws_nothing() -> None:
    assert hint_guide("§§").gains([], [1]) == [0.0]


def test_a_hint_is_suggested_with_a_space_before_it() -> None:
    pieces = {"wind": 7, " wind": 5}
    guide = HintBooster(["wind"], 1.0, text_of, lambda text: [pieces[text]] if text in pieces else [], END)
    assert guide.suggestions([4]) == {5, 7}
