"""The shapes of the network's blocks, as data: what a configuration file holds, without any tensor."""

from dataclasses import dataclass

from nim4asr.audio.features import MEL_BINS, SUBSAMPLING
from nim4asr.phonemes import TABLE

# An output frame t sees the input frames 4t .. 4t + 6.
SUBSAMPLING_CONTEXT = 7
LOOKAHEAD_FRAMES = SUBSAMPLING_CONTEXT - SUBSAMPLING
# What no encoder has; a configuration of more is damage, and would fill the memory before anyone noticed.
LARGEST, MOST_BLOCKS = 65_536, 1_000


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of the encoder.

    ``kernel_size`` is that of the depthwise convolution, in encoder frames, and odd.
    """

    model_dim: int
    blocks: int
    heads: int
    kernel_size: int = 33
    feedforward_multiplier: int = 4
    subsampling_channels: int = 32
    dropout: float = 0.1
    input_dim: int = MEL_BINS

    def __post_init__(self) -> None:
        sizes = (self.model_dim, self.blocks, self.heads, self.kernel_size, self.feedforward_multiplier)
        if min(*sizes, self.subsampling_channels) < 1:
            raise ValueError("every size of the encoder must be at least 1")
        if max(*sizes, self.subsampling_channels) > LARGEST or self.blocks > MOST_BLOCKS:
            raise ValueError(
                f"no size of the encoder may be over {LARGEST}, nor its blocks over {MOST_BLOCKS}"
            )
        if self.input_dim != MEL_BINS or not 0 <= self.dropout < 1:
            raise ValueError(f"input_dim must be {MEL_BINS}, and dropout from 0 to 1")
        if self.model_dim % self.heads:
            raise ValueError(f"model_dim {self.model_dim} must be a multiple of heads {self.heads}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {self.kernel_size}")


@dataclass(frozen=True)
class ChunkScheme:
    """What a frame may see: its own chunk of ``size`` frames and ``left`` chunks before it."""

    size: int = 16
    left: int = 4

    def __post_init__(self) -> None:
        if not (1 <= self.size <= LARGEST and 0 <= self.left <= LARGEST):
            raise ValueError(f"impossible chunks: size {self.size}, left {self.left}")


@dataclass(frozen=True)
class AdaptorConfig:
    """``stack`` encoder frames make one speech token: 4 give 6.25 a second, 160 ms each."""

    encoder_dim: int
    llm_dim: int
    stack: int = 4
    hidden_dim: int | None = None

    def __post_init__(self) -> None:
        if min(self.encoder_dim, self.llm_dim, self.stack, self.hidden_dim or 1) < 1 or self.stack > 100:
            raise ValueError("the adaptor's sizes must be at least 1, and stack at most 100")
        if max(self.encoder_dim, self.llm_dim, self.hidden_dim or 1) > 1_000_000:
            raise ValueError("the adaptor's sizes must be at most 1,000,000")


@dataclass(frozen=True)
class PhonemeHeadConfig:
    """The shape of the head; ``phonemes`` counts the blank."""

    encoder_dim: int
    hidden_dim: int
    phonemes: int = len(TABLE)

    def __post_init__(self) -> None:
        sizes = (self.encoder_dim, self.hidden_dim, self.phonemes)
        if min(sizes) < 1 or max(sizes) > 1_000_000:
            raise ValueError("the phoneme head's sizes must be from 1 to 1,000,000")


def output_length(features: int) -> int:
    """Encoder frames for a number of feature frames: (L - 3) // 2 + 1, applied twice, is (L - 3) // 4."""
    return max(0, (features - LOOKAHEAD_FRAMES) // SUBSAMPLING)
