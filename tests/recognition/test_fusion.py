import re
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.recognition.fusion import FusedScorer, HintBooster
from nim4asr.recognition.phoneme_scorer import PhonemeScorer
from recognition.sounds import heard

# The first is the end of the text.
PIECES = ["", "你", "好", "泥", "the", " wind", " win", "d", "!"]


def gains(guide: HintBooster, text: str, *longer: str | None) -> list[float]:
    """What ``text`` gains by each continuation."""
    found: list[float] = guide.gains([text], [0] * len(longer), longer).tolist()
    return found


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_gains_of_hints_depend_on_the_text_alone(pieces: list[str]) -> None:
    """However it came to be, a text has in the end gained what the hints in it are worth, each once."""
    guide = HintBooster(["你好", "the wind"], 0.5)
    texts = ["".join(pieces[:i]) for i in range(len(pieces) + 1)]
    gained = sum(
        gains(guide, text, longer)[0] for text, longer in zip(texts, [*texts[1:], None], strict=True)
    )
    patterns = {"你好": "你好", "the wind": "(?<![a-z])the wind(?![a-z])"}
    held = [hint for hint, pattern in patterns.items() if re.search(pattern, texts[-1])]
    assert gained == pytest.approx(sum(0.5 * len(pronounce(hint)) for hint in held))


def test_a_hint_that_is_begun_gains_its_share_and_gives_it_back() -> None:
    guide = HintBooster(["The Wind"], 0.5)
    begun, other = gains(guide, "", "the", "你")
    assert 0 < begun < 0.5 * len(pronounce("the wind")) and other == 0.0
    assert gains(guide, "the", "the你", None) == [pytest.approx(-begun)] * 2
    win, wind = gains(guide, "the", "the win", "the wind")
    assert 0 < win < wind and gains(guide, "the win", "the wind") == [pytest.approx(wind - win)]
    # Inside another word it is none.
    assert gains(guide, "d", "dthe") == [0.0]


def test_a_hint_is_worth_something_as_it_is_said_too() -> None:
    guide = HintBooster(["5G"], 1.0)
    assert gains(guide, "", "五")[0] + gains(guide, "五", "五g")[0] == pytest.approx(len(pronounce("5G")))
    assert gains(guide, "", "five")[0] + gains(guide, "five", "five g")[0] == pytest.approx(
        len(pronounce("5G"))
    )
    assert gains(guide, "", "5")[0] > 0 and {"五g", "5g"} <= guide.suggestions("")


def test_what_goes_on_with_a_hint_is_suggested() -> None:
    guide = HintBooster(["你好", "the wind"], 0.5)
    assert guide.suggestions("") == {"你好", " 你好", "the wind", " the wind"}
    assert guide.suggestions("泥你") == {"好", "the wind", " the wind"}
    assert guide.suggestions("the win") == {"你好", " 你好", "d"}


def test_a_hint_without_a_pronunciation_draws_nothing() -> None:
    assert gains(HintBooster(["§§"], 1.0), "", "你") == [0.0]


class Spelled:
    """A tokenizer of ``PIECES``."""

    end = 0

    def grown(self, text: str, tokens: Sequence[int], token: int) -> str:
        return text + PIECES[token]

    def encode(self, text: str) -> list[int]:
        fitting = [piece for piece in PIECES if piece and text.startswith(piece)]
        return [PIECES.index(max(fitting, key=len))] if fitting else []


def guided(
    sound: PhonemeScorer | None, hints: HintBooster | None, candidates: int
) -> tuple[Tokenizer, FusedScorer]:
    tokenizer = cast(Tokenizer, Spelled())
    return tokenizer, FusedScorer(tokenizer, DecodingConfig(candidates=candidates), sound, hints)


def test_guides_choose_among_the_likely_and_the_suggested() -> None:
    log_probs = np.array([[-3.0, -9.0, -1.0, -0.5, -2.0, -np.inf, -4.0, -5.0, -6.0]], np.float32)
    sound = PhonemeScorer(heard(pronounce("你好")), 0.5)
    _, scorer = guided(sound, None, 2)
    found = {one.token: one.score for one in scorer.best([[]], [""], [7.0], log_probs, 9)}
    assert set(found) == {0, 2, 3}
    sound.begin([""])
    assert found[2] - log_probs[0, 2] - 7.0 == pytest.approx(float(sound.gains([0], ["好"])[0]), abs=1e-5)
    hints = HintBooster(["你好"], 2.0)
    _, scorer = guided(sound, hints, 2)
    found = {one.token: one.score for one in scorer.best([[]], [""], [0.0], log_probs, 9)}
    assert set(found) == {0, 1, 2, 3}
    sound.begin([""])
    gained = sound.gains([0], ["你"])[0] + hints.gains([""], [0], ["你"])[0]
    assert found[1] - log_probs[0, 1] == pytest.approx(float(gained), abs=1e-5)
    ending = sound.ending("你") + float(hints.gains(["你"], [0], [None])[0])
    assert scorer.ending("你") == pytest.approx(ending)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, len(PIECES) - 1), max_size=4), min_size=1, max_size=8),
    st.integers(1, 6),
    st.integers(0, 1000),
    st.booleans(),
)
def test_what_is_not_listened_to_is_not_among_the_best(
    written: list[list[int]], most: int, seed: int, hinted: bool
) -> None:
    """The best continuations are those of all, although the sound is not asked of all."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((20, len(TABLE))).astype(np.float32)
    logits -= np.logaddexp.reduce(logits, axis=1, keepdims=True)
    rows = 3 * random.standard_normal((len(written), len(PIECES))).astype(np.float32)
    rows -= np.logaddexp.reduce(rows, axis=1, keepdims=True)
    scores = random.uniform(-9, 0, len(written)).tolist()
    texts = ["".join(PIECES[one] for one in tokens) for tokens in written]
    hints = HintBooster(["你好", "the wind"], 0.5) if hinted else None
    _, scorer = guided(PhonemeScorer(logits, 1.0), hints, len(PIECES))
    found = scorer.best(written, texts, scores, rows, most)
    everything = scorer.best(written, texts, scores, rows, len(texts) * len(PIECES))
    assert len(everything) == len(texts) * len(PIECES)
    assert [one.score for one in found] == pytest.approx([one.score for one in everything[:most]])
