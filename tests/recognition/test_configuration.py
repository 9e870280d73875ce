from typing import Any

import pytest

from nim4asr.model.decoding import DecodingConfig

CONFIG = DecodingConfig()


def test_the_budget_grows_with_the_audio() -> None:
    assert CONFIG.max_new_tokens(0) == CONFIG.extra_tokens
    assert CONFIG.max_new_tokens(10) - CONFIG.max_new_tokens(5) == 60


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_size": 0},
        {"beam_size": 101},
        {"phoneme_weight": -1.0},
        {"phoneme_weight": float("nan")},
        {"hint_weight": -1.0},
        {"hint_weight": float("inf")},
        {"candidates": 0},
        {"max_repeats": 1},
        {"tokens_per_second": 0.0},
    ],
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"beam_size|phoneme_weight|candidates|guards"):
        DecodingConfig(**wrong)
