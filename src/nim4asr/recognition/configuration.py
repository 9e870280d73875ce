"""How to recognize: recordings, and live speech."""

from dataclasses import dataclass, field
from typing import Literal

from nim4asr.audio.voice_activity import VoiceActivityConfig
from nim4asr.errors import InputError
from nim4asr.hotwords.hints import HintConfig
from nim4asr.model.decoding import MOST_BEAMS, DecodingConfig
from nim4asr.model.shapes import ChunkScheme


@dataclass(frozen=True)
class RecognitionConfig:
    """How to recognize recordings."""

    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    """How recordings are cut into segments."""
    decoding: DecodingConfig | None = None
    """None is what the model asks for."""
    batch_seconds: float = 120.0
    """A batch holds at most so much speech."""
    chunks: ChunkScheme | None = None
    """None lets the encoder see whole segments; else it sees what a live stream would."""
    hints: HintConfig = field(default_factory=HintConfig)
    """Which of the hotwords that were heard go into the prompt."""
    nbest: int = 0
    """So many texts at most are told of each segment (``Segment.alternatives``), for which at least as many
    beams are needed; the search goes on until it has them."""

    def __post_init__(self) -> None:
        _check_nbest(self.nbest)


@dataclass(frozen=True)
class StreamingConfig:
    """How to recognize live speech."""

    mode: Literal["refresh", "final"] = "refresh"
    """Show text while it is said (refresh), or only when a segment ends (final)."""
    chunk_s: float = 0.64
    """What the encoder takes at once; the same weights serve any."""
    left_context_s: float = 2.56
    """What the encoder sees of the past."""
    rollback_tokens: int = 5
    """A refresh rolls back the last so many tokens."""
    unfixed_chunks: int = 2
    """The text of the first so many chunks is rewritten whole."""
    second_pass: bool = True
    """Without it the final keeps the text that was stable."""
    final_context: Literal["chunks", "whole"] = "chunks"
    """What the encoder sees for the final: the chunks as they came, or the whole segment once more. The
    second makes the final as good as a recording's, for another pass of the encoder and a later final."""
    voice_activity: VoiceActivityConfig = field(default_factory=VoiceActivityConfig)
    """When a segment begins and ends."""
    decoding: DecodingConfig | None = None
    """None is what the model asks for. Its beams are for the final; partial text is searched greedily."""
    hints: HintConfig = field(default_factory=HintConfig)
    """Which of the hotwords that were heard go into the prompt."""
    nbest: int = 0
    """So many texts at most are told of each final, as of a recording's segments."""

    def __post_init__(self) -> None:
        _check_nbest(self.nbest)
        if self.mode not in ("refresh", "final"):
            raise ValueError(f"the mode of a stream is 'refresh' or 'final', not {self.mode!r}")
        if self.final_context not in ("chunks", "whole"):
            raise ValueError(f"the final's context is 'chunks' or 'whole', not {self.final_context!r}")
        if self.final_context == "whole" and not self.second_pass:
            raise ValueError("a final of whole segments is a second pass; leave second_pass on")
        if self.chunk_s <= 0 or self.left_context_s < 0:
            raise ValueError("the chunk must be positive and left_context_s not negative")
        if self.rollback_tokens < 1 or self.unfixed_chunks < 0:
            raise ValueError(
                "at least one token must be rolled back, and unfixed_chunks must not be negative"
            )

    def chunks(self, stack: int, frame_s: float) -> ChunkScheme:
        """The encoder's chunks, for an adaptor that puts ``stack`` frames of ``frame_s`` seconds together.

        Raises ``InputError`` if ``chunk_s`` holds no whole number of speech tokens.
        """
        size = round(self.chunk_s / frame_s)
        if size < stack or size % stack or abs(size * frame_s - self.chunk_s) > 1e-6:
            raise InputError(
                f"a chunk must be a multiple of {stack * frame_s * 1000:g} ms, not {self.chunk_s * 1000:g} ms"
            )
        return ChunkScheme(size, round(self.left_context_s / self.chunk_s))


def check_beams(nbest: int, decoding: DecodingConfig) -> None:
    """Raises ``InputError`` if a search as ``decoding`` says cannot find ``nbest`` texts."""
    if nbest > decoding.beam_size:
        raise InputError(
            f"for {nbest} alternatives at least {nbest} beams are needed, and there "
            f"{'is' if decoding.beam_size == 1 else 'are'} {decoding.beam_size}: "
            f"--beams {nbest}, or DecodingConfig(beam_size={nbest})"
        )


def _check_nbest(nbest: int) -> None:
    if not 0 <= nbest <= MOST_BEAMS:
        raise ValueError(f"nbest must be from 0 to {MOST_BEAMS}, not {nbest}")
