"""How a model's texts are searched for: its defaults travel with its weights, for they are right for
those.
"""

import math
from dataclasses import dataclass

# More letters than any word of either language has that is likely to be said.
LONGEST_WORD = 45
# More would only fill the memory.
MOST_BEAMS = 100


@dataclass(frozen=True)
class DecodingConfig:
    """How to search and when to stop.

    ``beam_size`` 1 is greedy search for the highest log p(text | prompt). More beams, and texts with hints,
    look for the highest log p(text | prompt) + ``phoneme_weight`` log p(its phonemes | sound) +
    ``hint_weight`` (phonemes of hints in it), among the likeliest ``candidates`` for the next token of each.
    The budget is ``tokens_per_second`` of audio and ``extra_tokens``. Text that ends in ``max_repeats``
    copies of the same up to ``max_loop_tokens`` tokens is a loop, and so is one that ends in as many copies
    of some characters, if they are ``min_loop_characters`` together; one copy of it is kept. A word of more
    than ``max_word_letters`` letters is none, and goes.
    """

    beam_size: int = 1
    phoneme_weight: float = 0.2
    hint_weight: float = 0.5
    candidates: int = 12
    tokens_per_second: float = 12.0
    extra_tokens: int = 4
    max_repeats: int = 4
    max_loop_tokens: int = 8
    min_loop_characters: int = 16
    max_word_letters: int = LONGEST_WORD

    def __post_init__(self) -> None:
        if not 1 <= self.beam_size <= MOST_BEAMS:
            raise ValueError(f"beam_size must be from 1 to {MOST_BEAMS}, not {self.beam_size}")
        if not (0 <= self.phoneme_weight < math.inf and 0 <= self.hint_weight < math.inf):
            raise ValueError("phoneme_weight and hint_weight must be finite and not negative")
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {self.candidates}")
        if self.max_repeats < 2 or self.max_loop_tokens < 1 or self.tokens_per_second <= 0:
            raise ValueError("the guards need two repeats, one token a loop and a positive budget")
        if self.min_loop_characters < 2 or self.max_word_letters < 1:
            raise ValueError("the guards need two characters a loop and one letter a word")

    def max_new_tokens(self, seconds: float) -> int:
        """The most tokens to write for ``seconds`` of audio."""
        return math.ceil(self.tokens_per_second * seconds) + self.extra_tokens
