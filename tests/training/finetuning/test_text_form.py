import pytest

from nim4asr.model.folder import ModelFolder, bundled
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.finetuning.text_form import form_of, has_marks
from nim4asr.training.finetuning.weights import can_write
from nim4asr.training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def written() -> Tokenizer:
    return train_tokenizer(["Hello, World.", "你好，世界。", "how are you"] * 3, 200)


def test_nano_writes_plain_texts_whatever_it_wrote() -> None:
    nano = ModelFolder.open(bundled()).tokenizer
    assert form_of(nano, ["hello", "Hello."]) == "plain"
    assert can_write(nano, "hello 你好") and not can_write(nano, "Hello")


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["Hello.", "how are you"], "written"),
        (["你好，世界", "世界", "你好", "世界你好"], "written"),
        (["hello", "how are you", "you're", "world", ""], "plain"),
        (["Hello", *["how are you"] * 9], "plain"),
        ([], "plain"),
        (["", ""], "plain"),
    ],
)
def test_what_can_write_marks_is_asked_for_what_it_wrote(
    written: Tokenizer, texts: list[str], form: str
) -> None:
    assert form_of(written, texts) == form


def test_marks() -> None:
    assert all(map(has_marks, ["Hi", "a b.", "世界。", "(a)"]))
    assert not any(map(has_marks, ["don't", "it’s", "世界", "3 of 4", "a+b"]))
