"""Context SFT."""

from dataclasses import replace

import pytest

from nim4asr.data.keywords import KeywordSet
from nim4asr.errors import InputError
from nim4asr.training.model import TrainableModel
from nim4asr.training.stages.context_sft import ContextSft
from training.toys import LOOP


def test_context_sft_needs_keywords(model: TrainableModel) -> None:
    with pytest.raises(InputError, match="needs keywords"):
        ContextSft(LOOP).objective(replace(model, keywords=KeywordSet()))
