"""How a model's texts are searched for: its defaults travel with its weights, for they are right for
those.
"""

import math
from dataclasses import dataclass

from nim4asr.errors import InputError
from nim4asr.text.languages import LANGUAGES, Language

# More letters than any word of either language has that is likely to be said.
LONGEST_WORD = 45
# More would only fill the memory.
MOST_BEAMS = 100


@dataclass(frozen=True)
class DecodingConfig:
    """How to search for a text, and when to stop.

    Greedy search looks for the highest log p(text | prompt). More beams, and texts with hints, look for the
    highest

        log p(text | prompt) + phoneme_weight log p(its phonemes | sound) + hint_weight (phonemes of hints)
    """

    beam_size: int = 1
    """1 is greedy search."""
    phoneme_weight: float = 0.2
    """The weight of the phonemes heard, with several beams or with hints."""
    hint_weight: float = 0.5
    """What each phoneme of a hint adds to a text, in nats."""
    candidates: int = 12
    """So many tokens of each text are weighed as its next one."""
    tokens_per_second: float = 12.0
    """The token budget of a second of audio."""
    extra_tokens: int = 4
    """The token budget beside that."""
    max_repeats: int = 4
    """Text that ends in so many copies of the same tokens is a loop; one copy is kept."""
    max_loop_tokens: int = 8
    """The longest loop looked for, in tokens."""
    min_loop_characters: int = 16
    """Copies of characters are a loop if they are so many together."""
    max_word_letters: int = LONGEST_WORD
    """Longer words are removed."""
    max_entropy: float | None = None
    """A short sound is no word, and gets no text, if its phonemes are heard with more entropy than this: nats
    a frame, the mean over those that are not blank. A bark is a little of many phonemes, a word mostly its
    own. None writes whatever is heard."""
    short_frames: int = 12
    """A sound is short if not so many of its frames are other than blank."""
    language: Language | None = None
    """Write this language alone: ``"zh"`` without Latin letters, ``"en"`` with no others; digits and marks
    are of both. None writes what is said in the language it is said in."""

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
        if self.language is not None and self.language not in LANGUAGES:
            raise InputError(f"the language of texts is {' or '.join(LANGUAGES)}, not {self.language!r}")
        if self.short_frames < 0 or (self.max_entropy is not None and self.max_entropy < 0):
            raise ValueError("max_entropy and short_frames must not be negative")

    def max_new_tokens(self, seconds: float) -> int:
        """The most tokens to write for ``seconds`` of audio."""
        return math.ceil(self.tokens_per_second * seconds) + self.extra_tokens
