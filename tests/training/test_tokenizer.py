"""The tokenizer of a language model trained from scratch."""

from pathlib import Path

from nim4asr.training.tokenizer import train_tokenizer


def test_the_tokenizer_keeps_characters_apart_and_spaces(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["今天天气 the weather", "今天 the wind", "the weather"] * 3, 80)
    for text in ("今天 the weather", "the wind", "天气"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("今天天气")) == 4
    assert len(tokenizer.encode_special("<|im_start|>user\n")) == 3
    tokenizer.save(tmp_path)
