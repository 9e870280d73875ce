"""What a search gives back: its tokens, each with the text that it adds."""

import math
from collections.abc import Sequence
from typing import cast

from hypothesis import assume, example, given
from hypothesis import strategies as st

from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.recognition.guards import without_runaway
from nim4asr.recognition.hypothesis import to_hypothesis
from nim4asr.recognition.result import Token

CONFIG = DecodingConfig(max_repeats=100, max_word_letters=10_000)


class Bytes:
    """A tokenizer of one byte a token, or of one letter with a space before it (over 255), or special (999).
    A text has no space at its beginning, as decoders of pieces have it.
    """

    end = 1000

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, tokens: Sequence[int]) -> str:
        self.decoded += len(tokens)
        data = b"".join(
            b"" if token == 999 else b" " + bytes([token - 256]) if token > 255 else bytes([token])
            for token in tokens
        )
        text = data.decode("utf-8", "replace")
        return text[1:] if text.startswith(" ") else text


def prefix_by_prefix(tokenizer: Bytes, tokens: Sequence[int]) -> list[str]:
    """What each token adds, by decoding every prefix."""
    added, before = [], ""
    for place in range(len(tokens)):
        whole = tokenizer.decode(tokens[: place + 1]).rstrip("\ufffd")
        added.append(whole[len(before) :])
        before = whole
    return added


spelled = st.text("ab é中\U00020000", max_size=12).map(lambda text: list(text.encode()))
pieces = st.lists(st.sampled_from([256 + ord("a"), 256 + ord("b"), 999]), max_size=4)


@example(list(b"baaaaaaa"))
@given(st.lists(spelled | pieces, max_size=6).map(lambda parts: [one for part in parts for one in part]))
def test_each_token_has_what_it_adds(tokens: list[int]) -> None:
    tokenizer = Bytes()
    # Words of repeated pieces are cut; that has tests of its own.
    assume(list(without_runaway(cast(Tokenizer, tokenizer), tokens, CONFIG)) == tokens)
    found = to_hypothesis(cast(Tokenizer, tokenizer), tokens, [-0.5] * len(tokens), CONFIG)
    assert found.tokens == tuple(Token(text, -0.5) for text in prefix_by_prefix(tokenizer, tokens))
    assert "".join(token.text for token in found.tokens).strip() == found.text


def test_time_is_in_proportion_to_the_length() -> None:
    decoded = []
    for size in (100, 1000):
        tokenizer = Bytes()
        text = "".join(chr(0x4E00 + i) for i in range(size))
        tokens = list(text.encode())
        to_hypothesis(cast(Tokenizer, tokenizer), tokens, [-0.5] * len(tokens), CONFIG)
        decoded.append(tokenizer.decoded / len(tokens))
    assert decoded[1] < 1.2 * decoded[0] < 20


def test_tokens_of_a_model(toy_checkpoint: Checkpoint) -> None:
    tokenizer = toy_checkpoint.tokenizer
    assert tokenizer is not None
    tokens = tokenizer.encode("how are you 你好")
    found = to_hypothesis(tokenizer, [*tokens, tokenizer.end], [-0.1] * (len(tokens) + 1), CONFIG)
    assert "".join(token.text for token in found.tokens).strip() == found.text == tokenizer.decode(tokens)
    assert len(found.tokens) == len(tokens)


def test_an_impossible_token_says_no_more_than_an_unlikely_one() -> None:
    found = to_hypothesis(cast(Tokenizer, Bytes()), [65], [-1e6], CONFIG)
    assert math.isclose(found.confidence, math.exp(-30))
