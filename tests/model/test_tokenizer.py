"""What tokens add to a text, for tokenizers of characters and of bytes."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, pre_tokenizers, trainers

from nim4asr.model.tokenizer import TURN_END, TURN_START, Tokenizer
from nim4asr.training.tokenizer import train_tokenizer

TEXTS = ["今天天气很好", "how are you today, 小王", "naïve café", "I'm 30% sure", "  two  spaces"]


def of_bytes() -> Tokenizer:
    """Byte-pair encoding of bytes, as in Qwen: a character may be several tokens."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(TEXTS, trainer)
    return Tokenizer(inner)


def of_sentencepiece() -> Tokenizer:
    """Pieces with a space before the first, which the decoder takes away again."""
    inner = Inner(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    inner.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=["<unk>", TURN_START, TURN_END], show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    return Tokenizer(inner)


TOKENIZERS = [train_tokenizer(TEXTS * 2, 90), of_bytes(), of_sentencepiece()]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=["own", "bytes", "sentencepiece"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_text_that_grows_is_what_its_tokens_say(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=12))
    text = ""
    for place, token in enumerate(tokens):
        text = tokenizer.grown(text, tokens[:place], token)
        assert text == tokenizer.decode(tokens[: place + 1])


def test_a_known_token_is_not_decoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS[0]
    one, two = tokenizer.encode("今")[0], tokenizer.encode("天")[0]
    assert tokenizer.grown("今", [one], two) == "今天"
    monkeypatch.setattr(Tokenizer, "decode", None)
    assert tokenizer.grown("今今今", [one] * 3, two) == "今今今天"


@pytest.mark.parametrize("make", [of_bytes, of_sentencepiece])
def test_tokens_that_a_language_has_not(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    english, chinese = tokenizer.foreign("en").tolist(), tokenizer.foreign("zh").tolist()
    for text in TEXTS:
        ids = tokenizer.encode(text)
        if text.isascii():
            assert not set(ids) & set(english), text
    assert not set(tokenizer.encode("今天天气很好")) & set(chinese)
    assert set(tokenizer.encode("今天")) & set(english)
    assert set(tokenizer.encode("how")) <= set(chinese)
    # The end of a turn is of every language.
    assert tokenizer.end not in english + chinese
    assert tokenizer.foreign("en") is tokenizer.foreign("en")
