import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.phonemes import TABLE, pronounce, tokenize
from nim4asr.phonemes.ctc import greedy_path
from nim4asr.recognition.phoneme_scorer import PhonemeScorer
from nim4asr.text.spoken import spoken_form
from recognition.sounds import heard


def gains(scorer: PhonemeScorer, text: str, *longer: str | None) -> list[float]:
    """What ``text`` gains by each continuation, which is no more than was said that it may be."""
    most = float(scorer.begin([text])[0])
    found = scorer.gains([0] * len(longer), longer).tolist()
    assert all(gained <= most + 1e-9 for gained in found)
    return found


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(0, 6),
    text=st.text("你好", max_size=2),
    seed=st.integers(0, 1000),
)
def test_gains_add_up_to_the_sum_of_all_paths(frames: int, text: str, seed: int) -> None:
    """Of all paths that begin with the text's phonemes, and with the end of those that hold no more."""
    logits = np.random.default_rng(seed).standard_normal((frames, len(TABLE)))
    # So that six phonemes are all there are.
    used = [0, *TABLE.encode([*pronounce("你好"), "AA"])]
    table = np.full_like(logits, -np.inf)
    table[:, used] = logits[:, used] - np.log(np.exp(logits[:, used]).sum(1, keepdims=True))
    scorer = PhonemeScorer(table.astype(np.float32), 1.0)
    wanted = TABLE.encode(pronounce(text)) if text else []
    begun = whole = 0.0
    for path in itertools.product(used, repeat=frames):
        labels = greedy_path(path)
        probability = float(np.exp(sum(table[t, s] for t, s in enumerate(path))))
        begun += probability * (labels[: len(wanted)] == wanted)
        whole += probability * (labels == wanted)
    total = sum(gains(scorer, text[:i], text[: i + 1])[0] for i in range(len(text)))
    (end,) = gains(scorer, text, None)
    assert scorer.ending(text) == end
    if begun > 0:
        assert total == pytest.approx(np.log(begun), abs=1e-3)
    if whole > 0:
        assert total + end == pytest.approx(np.log(whole), abs=1e-3)
    else:
        assert total + end < -1000


def test_what_was_said_gains_over_what_was_not() -> None:
    scorer = PhonemeScorer(heard(pronounce("你好")), 0.5)
    you, good, mud, end = gains(scorer, "", "你", "好", "泥", None)
    assert you > good and you > end
    # Said alike but for the tone.
    assert you > mud
    good, end = gains(scorer, "你", "你好", None)
    assert good > end
    again, end = gains(scorer, "你好", "你好你", None)
    assert end > again
    assert gains(PhonemeScorer(heard(pronounce("你好")), 1.0), "", "你") == [pytest.approx(2 * you)]


def test_the_end_of_a_word_counts_when_it_is_complete() -> None:
    scorer = PhonemeScorer(heard(pronounce("the wind")), 1.0)
    (the,) = gains(scorer, "", "the")
    assert the == 0.0
    # Now "the" is complete, and the W of "win" is certain.
    wind, win = gains(scorer, "the", "the wind", "the win")
    assert wind < win < 0.0
    (d,) = gains(scorer, "the win", "the wind")
    assert win + d == pytest.approx(wind)
    right, wrong = gains(scorer, "the wind", None)[0] + wind, gains(scorer, "the win", None)[0] + win
    assert right > wrong


def test_a_word_without_end_pays_on_the_way() -> None:
    scorer = PhonemeScorer(heard(pronounce("你好")), 1.0)
    paid = [gains(scorer, "the" * i, "the" * (i + 1))[0] for i in range(5)]
    assert paid[0] == 0.0 and sum(paid) < -20


def test_what_has_no_sound_weighs_nothing() -> None:
    assert gains(PhonemeScorer(heard(pronounce("你好")), 1.0), "你", "你!") == [0.0]
    assert gains(PhonemeScorer(np.zeros((0, len(TABLE)), np.float32), 1.0), "", None) == [0.0]


PIECES = ["你", "好", "银", "行", " the", " read", "ing", "s", " 3", "0", "%", "。", "é", "龘"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PIECES), max_size=7), min_size=1, max_size=4),
    st.integers(0, 1000),
    st.integers(1, 6),
)
def test_a_text_gains_the_same_beside_others(texts: list[list[str]], seed: int, steps: int) -> None:
    """Whatever else is asked for in the same step and was before, in whatever order: a gain is the
    difference of two probabilities, found here from the whole text's phonemes.
    """
    logits = np.random.default_rng(seed).standard_normal((30, len(TABLE))).astype(np.float32)
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    scorer = PhonemeScorer(log_probs, 0.3)
    for step in range(steps):
        written = ["".join(pieces[:step]) for pieces in texts]
        scorer.begin(written)
        rows = [row for row in range(len(texts)) for _ in PIECES]
        longer = [written[row] + piece for row in range(len(texts)) for piece in PIECES]
        found = scorer.gains(rows, longer)
        for row, text, gained in list(zip(rows, longer, found, strict=True))[seed % 5 :: 7]:
            expected = begun(log_probs, text) - begun(log_probs, written[row])
            assert gained == pytest.approx(0.3 * expected, abs=1e-6)


def begun(log_probs: np.ndarray, text: str) -> float:
    """The log probability of all that begins with the phonemes of ``text``, frame by frame."""
    said = [list(token.phonemes) for token in tokenize(spoken_form(text))]
    if said and text[-1].isascii() and text[-1].isalpha():
        del said[-1][-2:]
    labels = TABLE.encode(phoneme for phonemes in said for phoneme in phonemes)
    if not labels:
        return 0.0
    table = np.exp(log_probs.astype(np.float64))
    states = np.zeros(2 * len(labels))  # Before each label: in blank; in it. Of the last one only the entry.
    states[0], total, before = 1.0, 0.0, np.zeros(len(labels))
    blank = np.array([1.0] + [0.0] * (len(labels) - 1))
    for frame in table:
        entered = np.zeros(len(labels))
        for i, label in enumerate(labels):
            skipped = before[i - 1] if i and labels[i - 1] != label else 0.0
            entered[i] = (blank[i] + skipped) * frame[label]
        total += entered[-1]
        blank = (blank + np.concatenate([[0.0], before[:-1]])) * frame[0]
        before = before * frame[labels] + entered
    return float(np.log(total)) if total > 0 else -1e4
