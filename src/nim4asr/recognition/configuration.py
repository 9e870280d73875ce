"""How to recognise: the search for a text, recordings, and live speech."""

import math
from dataclasses import dataclass, field
from typing import Literal

from nim4asr.audio.features import FRAME_SECONDS
from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.errors import InputError
from nim4asr.hotwords.hints import HintConfig
from nim4asr.model.shapes import ChunkScheme

# More letters than any word of either language has that is likely to be said.
LONGEST_WORD = 45
# More would only fill the memory.
MOST_BEAMS = 100


@dataclass(frozen=True)
class DecodingConfig:
    """How to search and when to stop.

    ``beams`` 1 is greedy search for the highest log p(text | prompt). More beams, and texts with hints, look for the
    highest log p(text | prompt) + ``phoneme_weight`` log p(its phonemes | sound) + ``hint_weight`` (phonemes of hints
    in it), among the likeliest ``candidates`` for the next token of each. The budget is ``tokens_per_second`` of audio
    and ``spare_tokens``. Text that ends in ``repeats`` copies of the same up to ``longest_loop`` tokens is a loop, and
    so is one that ends in as many copies of some characters, if they are ``loop_characters`` together; one copy of it
    is kept. A word of more than ``longest_word`` letters is none, and goes.
    """

    beams: int = 1
    phoneme_weight: float = 0.2
    hint_weight: float = 0.5
    candidates: int = 12
    tokens_per_second: float = 12.0
    spare_tokens: int = 4
    repeats: int = 4
    longest_loop: int = 8
    loop_characters: int = 16
    longest_word: int = LONGEST_WORD

    def __post_init__(self) -> None:
        if not 1 <= self.beams <= MOST_BEAMS:
            raise ValueError(f"beams must be from 1 to {MOST_BEAMS}, not {self.beams}")
        if not (0 <= self.phoneme_weight < math.inf and 0 <= self.hint_weight < math.inf):
            raise ValueError("phoneme_weight and hint_weight must be finite and not negative")
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, not {self.candidates}")
        if self.repeats < 2 or self.longest_loop < 1 or self.tokens_per_second <= 0:
            raise ValueError("the guards need two repeats, one token a loop and a positive budget")
        if self.loop_characters < 2 or self.longest_word < 1:
            raise ValueError("the guards need two characters a loop and one letter a word")

    def budget(self, seconds: float) -> int:
        """The most tokens to write for ``seconds`` of audio."""
        return math.ceil(self.tokens_per_second * seconds) + self.spare_tokens


@dataclass(frozen=True)
class RecognitionConfig:
    """How to recognise. A batch holds at most ``batch_seconds`` of speech.

    ``chunks`` None lets the encoder see whole segments; else it sees what a live stream would. ``hints`` says which of
    the hotwords that were heard go into the prompt.
    """

    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    batch_seconds: float = 120.0
    chunks: ChunkScheme | None = None
    hints: HintConfig = field(default_factory=HintConfig)


@dataclass(frozen=True)
class StreamingConfig:
    """How to recognise live speech.

    ``chunk`` is what the encoder takes at once and ``left_context`` what it sees of the past, both in seconds; the
    same weights serve any. A refresh rolls back the last ``rolled_back`` tokens; the first ``free_chunks`` chunks
    keep nothing. Without ``second_pass`` the final keeps the text that was stable.
    """

    mode: Literal["refresh", "final"] = "refresh"
    chunk: float = 0.64
    left_context: float = 2.56
    rolled_back: int = 5
    free_chunks: int = 2
    second_pass: bool = True
    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    hints: HintConfig = field(default_factory=HintConfig)

    def __post_init__(self) -> None:
        if self.mode not in ("refresh", "final"):
            raise ValueError(f"the mode of a stream is 'refresh' or 'final', not {self.mode!r}")
        if self.chunk <= 0 or self.left_context < 0:
            raise ValueError("chunk must be positive and left_context not negative")
        if self.rolled_back < 1 or self.free_chunks < 0:
            raise ValueError("at least one token must be rolled back, and free_chunks must not be negative")

    def chunks(self, stack: int) -> ChunkScheme:
        """The encoder's chunks, for an adaptor that puts ``stack`` frames together.

        Raises ``InputError`` if ``chunk`` holds no whole number of speech tokens.
        """
        size = round(self.chunk / FRAME_SECONDS)
        if size < stack or size % stack or abs(size * FRAME_SECONDS - self.chunk) > 1e-6:
            raise InputError(
                f"a chunk must be a multiple of {stack * FRAME_SECONDS * 1000:g} ms, not {self.chunk * 1000:g} ms"
            )
        return ChunkScheme(size, round(self.left_context / self.chunk))
