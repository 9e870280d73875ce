"""Whether a model writes texts as they stand, with capitals and punctuation, or plain ones."""

import unicodedata
from collections.abc import Sequence

from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.speech import TextForm

# What a tokenizer that was made for plain texts cannot write.
_PROBES = ("Hello, World.", "你好，世界。")
# A model that writes marks leaves them out of short texts.
_SOME = 0.25


def form_of(tokenizer: Tokenizer, texts: Sequence[str]) -> TextForm:
    """The form of ``texts`` that a model with this ``tokenizer`` wrote. A tokenizer without capitals or marks
    is of a model that writes plain texts; of another, a quarter of the texts must have them.
    """
    if not any(tokenizer.decode(tokenizer.encode(probe)) == probe for probe in _PROBES):
        return "plain"
    told = [text for text in texts if text]
    return "written" if told and sum(map(has_marks, told)) >= _SOME * len(told) else "plain"


def has_marks(text: str) -> bool:
    """Whether there is a capital or a punctuation mark in ``text``, apostrophes left out."""
    return any(c.isupper() or (c not in "'’" and unicodedata.category(c).startswith("P")) for c in text)
