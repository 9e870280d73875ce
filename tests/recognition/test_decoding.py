from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.prompt import end_token
from nim4asr.recognition.decoding import (
    DecodingConfig,
    decode,
    loop_length,
    runs_away,
    text_runs_away,
    to_hypothesis,
    without_loop,
)
from nim4asr.recognition.guidance import SoundGuide

CONFIG = DecodingConfig()


def test_loops_are_seen() -> None:
    assert loop_length([1, 2, 3] * 4, CONFIG) == 3
    assert loop_length([9, *[1, 2] * 4], CONFIG) == 2
    assert loop_length([1, 2] * 3, CONFIG) == 0
    assert loop_length([7] * 8, CONFIG) == 1
    assert loop_length([7] * 7, CONFIG) == 0


@given(st.lists(st.integers(0, 3), max_size=30))
def test_text_without_a_loop_is_left_alone(tokens: list[int]) -> None:
    kept = without_loop(tokens, CONFIG)
    assert kept == tokens[: len(kept)]
    if not loop_length(tokens, CONFIG):
        assert kept == tokens
    else:
        assert not loop_length(kept, CONFIG)


def test_the_budget_grows_with_the_audio() -> None:
    assert CONFIG.budget(0) == CONFIG.spare_tokens
    assert CONFIG.budget(10) - CONFIG.budget(5) == 60


@pytest.mark.parametrize(
    "wrong",
    [
        {"beams": 0},
        {"beams": 101},
        {"phoneme_weight": -1.0},
        {"phoneme_weight": float("nan")},
        {"hint_weight": -1.0},
        {"hint_weight": float("inf")},
        {"candidates": 0},
        {"repeats": 1},
        {"tokens_per_second": 0.0},
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"beams|phoneme_weight|candidates|guards"):
        DecodingConfig(**wrong)


def prompts(checkpoint: Checkpoint, lengths: list[int]) -> Any:
    torch.manual_seed(1)
    speech = torch.randn(len(lengths), max(lengths), 32)
    assert checkpoint.tokenizer is not None
    return checkpoint.network.embed_prompts(checkpoint.tokenizer, speech, torch.tensor(lengths))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_is_decoded_as_each_alone(toy_checkpoint: Checkpoint, beams: int) -> None:
    assert toy_checkpoint.tokenizer is not None
    config = DecodingConfig(beams=beams)
    batch = decode(
        toy_checkpoint.network, toy_checkpoint.tokenizer, prompts(toy_checkpoint, [6, 3]), [1.0, 0.5], config
    )
    torch.manual_seed(1)
    speech = torch.randn(2, 6, 32)
    for row, (length, seconds) in enumerate([(6, 1.0), (3, 0.5)]):
        prompt = toy_checkpoint.network.embed_prompts(
            toy_checkpoint.tokenizer, speech[row : row + 1], torch.tensor([length])
        )
        (alone,) = decode(toy_checkpoint.network, toy_checkpoint.tokenizer, prompt, [seconds], config)
        assert alone.text == batch[row].text
        assert alone.confidence == pytest.approx(batch[row].confidence, rel=1e-3)
        assert 0 <= alone.confidence <= 1


def test_each_sound_guides_its_own_beams(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two prompts alike; one's sound is all for the token 42, the other's for 43."""
    assert toy_checkpoint.tokenizer is not None
    torch.manual_seed(1)
    speech = torch.randn(1, 6, 32).expand(2, -1, -1)
    network, tokenizer = toy_checkpoint.network, toy_checkpoint.tokenizer
    prompt = network.embed_prompts(tokenizer, speech, torch.tensor([6, 6]))
    sounds = [np.zeros((frames, 256), np.float32) for frames in (42, 43)]

    def gains(guide: SoundGuide, written: list[int], candidates: list[int]) -> list[float]:
        return [guide._weight * (one == len(guide._log_probs)) for one in candidates]

    monkeypatch.setattr(SoundGuide, "gains", gains)

    def texts(posteriors: Any = sounds, **options: Any) -> list[str]:
        config = DecodingConfig(**{"beams": 4, "phoneme_weight": 50.0, "candidates": 80, **options})
        return [one.text for one in decode(network, tokenizer, prompt, [1.0, 1.0], config, posteriors)]

    first, second = texts()
    # Until they would be loops.
    assert first.startswith(tokenizer.decode([42] * 5)) and second.startswith(tokenizer.decode([43] * 5))
    for plain in (texts(phoneme_weight=0.0), texts(beams=1), texts(posteriors=None)):
        assert plain[0] == plain[1] not in (first, second)


class Babbler:
    """A language model that says ``cycle`` for ever."""

    def __init__(self, checkpoint: Checkpoint, cycle: list[int]) -> None:
        self.checkpoint, self.cycle = checkpoint, cycle

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        llm = self.checkpoint.network.llm
        genuine, step = llm.forward, [0]

        def forward(*args: Any, **kwargs: Any) -> Any:
            output = genuine(*args, **kwargs)
            output.logits[:] = -50.0
            output.logits[..., self.cycle[step[0] % len(self.cycle)]] = 50.0
            step[0] += 1
            return output

        monkeypatch.setattr(llm, "forward", forward)


def test_the_budget_ends_a_babbler(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    # All different, so that no loop ends it first.
    words = [i for i in range(5, 60) if i != end_token(tokenizer)]
    Babbler(toy_checkpoint, words).patch(monkeypatch)
    config = DecodingConfig(tokens_per_second=4, spare_tokens=2)
    (hypothesis,) = decode(toy_checkpoint.network, tokenizer, prompts(toy_checkpoint, [4]), [2.0], config)
    assert hypothesis.text == tokenizer.decode(words[:10], skip_special_tokens=True).strip()


def test_a_loop_is_ended_and_cut(toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    cycle = tokenizer.encode("今天", add_special_tokens=False)
    Babbler(toy_checkpoint, cycle).patch(monkeypatch)
    (hypothesis,) = decode(
        toy_checkpoint.network, tokenizer, prompts(toy_checkpoint, [4]), [30.0], DecodingConfig()
    )
    assert hypothesis.text == "今天"


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(0, 30))
def test_a_loop_is_cut_no_further_than_what_must_stay(tokens: list[int], least: int) -> None:
    kept = without_loop(tokens, CONFIG, least)
    assert kept == tokens[: len(kept)]
    assert len(kept) >= min(least, len(tokens))


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("je" + "bbo" * 6, True),
        ("so he said " + "ab" * 8, True),
        ("and the man" + " and the man" * 4, True),
        ("x" * 46, True),
        ("哈" * 16, True),
        ("no no no no", False),
        ("哈哈哈哈", False),
        ("pneumonoultramicroscopicsilicovolcanoconiosis", False),
        ("他说" + "一二三四五" * 20 + "六", False),
        ("", False),
    ],
)
def test_text_that_no_listener_would_write_on(text: str, away: bool) -> None:
    assert text_runs_away(text, CONFIG) == away


def spelled(checkpoint: Checkpoint, text: str) -> list[int]:
    """The tokens of ``text``, a letter each."""
    tokenizer = checkpoint.tokenizer
    assert tokenizer is not None
    return [token for letter in text for token in tokenizer.encode(letter, add_special_tokens=False)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        # Of a loop that no four tokens show, one copy stays; of a word that is none, nothing.
        ("he is" + "hearitoday" * 4, "he ishearitoday"),
        ("he is " + "weathrino" * 6, "he is weathrino"),
        ("how " + "".join(Random(0).choices("howareytdisfnl", k=60)), "how"),
        ("how are you", "how are you"),
    ],
)
def test_letter_soup_is_cut(toy_checkpoint: Checkpoint, text: str, kept: str) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    tokens = spelled(toy_checkpoint, text)
    text = tokenizer.decode(tokens)
    assert runs_away(tokenizer, tokens, CONFIG) == (kept != text)
    hypothesis = to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG)
    assert hypothesis.text == kept
    assert to_hypothesis(tokenizer, tokens, [-0.1] * len(tokens), CONFIG, len(tokens)).text == text


def test_a_beam_that_runs_away_wins_nothing(
    toy_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop is by far the likeliest text, and every other is likelier than to end."""
    tokenizer, llm = toy_checkpoint.tokenizer, toy_checkpoint.network.llm
    assert tokenizer is not None
    loop, others = tokenizer.encode("今", add_special_tokens=False)[-1], range(20, 40)
    genuine = llm.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = genuine(*args, **kwargs)
        output.logits[:] = -30.0
        output.logits[..., list(others)] = 0.0
        output.logits[..., loop] = 5.0
        output.logits[..., end_token(tokenizer)] = -5.0
        return output

    monkeypatch.setattr(llm, "forward", forward)
    config = DecodingConfig(beams=4, phoneme_weight=0.0)
    (found,) = decode(toy_checkpoint.network, tokenizer, prompts(toy_checkpoint, [4]), [2.0], config)
    # The loop ended for nothing would have been the best text of all.
    assert not found.text.endswith("今今") and found.text != "今"
