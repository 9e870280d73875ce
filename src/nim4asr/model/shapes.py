"""The shapes of the network's blocks, as data: what a configuration file holds, without any tensor."""

from dataclasses import dataclass
from typing import ClassVar

from nim4asr.phonemes import TABLE

# What no encoder has; a configuration of more is damage, and would fill the memory before anyone noticed.
LARGEST, MOST_BLOCKS = 65_536, 1_000


@dataclass(frozen=True)
class ChunkScheme:
    """What a frame may see: its own chunk of ``size`` frames and ``left`` chunks before it."""

    size: int = 16
    left: int = 4

    def __post_init__(self) -> None:
        if not (1 <= self.size <= LARGEST and 0 <= self.left <= LARGEST):
            raise ValueError(f"impossible chunks: size {self.size}, left {self.left}")


@dataclass(frozen=True)
class StateTensor:
    """One tensor of an encoder's state between two chunks.

    ``shape`` is that of a single stream. Several streams are put together along ``batch_axis``;
    ``chunk_axes`` are as long as the chunk scheme asks. A tensor that ``counts`` holds whole numbers.
    """

    shape: tuple[int, ...]
    batch_axis: int
    chunk_axes: tuple[int, ...] = ()
    counts: bool = False


@dataclass(frozen=True)
class ConformerConfig:
    """The shape of a Conformer in the FireRedASR layout (``nim4asr.model.encoders.conformer``).

    ``kernel_size`` is that of the depthwise convolution, in encoder frames, and odd. ``input_dim`` is the
    features' number of bins.
    """

    model_dim: int
    blocks: int
    heads: int
    kernel_size: int = 33
    feedforward_multiplier: int = 4
    subsampling_channels: int = 32
    dropout: float = 0.1
    input_dim: int = 80
    kind: ClassVar[str] = "conformer"
    # Two convolutions of width 3 and stride 2: the frame t sees the features 4 t to 4 t + 6.
    stride: ClassVar[int] = 4
    lookahead: ClassVar[int] = 3
    pads_end: ClassVar[bool] = False

    def __post_init__(self) -> None:
        sizes = (self.model_dim, self.blocks, self.heads, self.kernel_size, self.feedforward_multiplier)
        _check_sizes(*sizes, self.subsampling_channels, blocks=self.blocks)
        if not 7 <= self.input_dim <= 256 or not 0 <= self.dropout < 1:
            raise ValueError("input_dim must be from 7 to 256, and dropout from 0 to 1")
        _check_heads(self.model_dim, self.heads)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {self.kernel_size}")

    @property
    def frame_dim(self) -> int:
        """The dimensions of a frame."""
        return self.model_dim

    def state(self, chunks: ChunkScheme) -> dict[str, StateTensor]:
        """What one chunk leaves to the next."""
        cache = (self.blocks, 1, self.heads, chunks.left * chunks.size, self.model_dim // self.heads)
        convolution = (self.blocks, 1, self.kernel_size // 2, 2 * self.model_dim)
        return {
            "keys": StateTensor(cache, 1, (3,)),
            "values": StateTensor(cache, 1, (3,)),
            "convolution": StateTensor(convolution, 1),
            "frames": StateTensor((1,), 0, counts=True),
        }


@dataclass(frozen=True)
class WhisperConfig:
    """The shape of Whisper's encoder (``nim4asr.model.encoders.whisper``).

    ``joined`` of its frames of 20 ms make one frame of the model. ``input_dim`` is the features' number of
    bins.
    """

    model_dim: int
    blocks: int
    heads: int
    feedforward_dim: int
    joined: int = 2
    dropout: float = 0.0
    input_dim: int = 80
    kind: ClassVar[str] = "whisper"
    # Convolutions of width 3, of strides 1 and 2: a frame of 20 ms, u, sees the features 2 u - 2 to 2 u + 2.
    lookahead: ClassVar[int] = 1
    pads_end: ClassVar[bool] = True

    def __post_init__(self) -> None:
        sizes = (self.model_dim, self.blocks, self.heads, self.feedforward_dim, self.joined)
        _check_sizes(*sizes, blocks=self.blocks)
        if not 2 <= self.input_dim <= 256 or not 0 <= self.dropout < 1:
            raise ValueError("input_dim must be from 2 to 256, and dropout from 0 to 1")
        _check_heads(self.model_dim, self.heads)
        if self.model_dim % 2 or self.joined > 100:
            raise ValueError("model_dim must be even, and joined at most 100")

    @property
    def stride(self) -> int:
        """Feature frames to a frame."""
        return 2 * self.joined

    @property
    def frame_dim(self) -> int:
        """The dimensions of a frame."""
        return self.joined * self.model_dim

    def state(self, chunks: ChunkScheme) -> dict[str, StateTensor]:
        """What one chunk leaves to the next."""
        kept = chunks.left * chunks.size * self.joined
        cache = (self.blocks, 1, self.heads, kept, self.model_dim // self.heads)
        return {
            "keys": StateTensor(cache, 1, (3,)),
            "values": StateTensor(cache, 1, (3,)),
            "past_features": StateTensor((1, 1, self.input_dim), 0),
            "past_convolved": StateTensor((1, 1, self.model_dim), 0),
            "frames": StateTensor((1,), 0, counts=True),
        }


EncoderConfig = ConformerConfig | WhisperConfig


def _check_sizes(*sizes: int, blocks: int) -> None:
    if min(sizes) < 1:
        raise ValueError("every size of the encoder must be at least 1")
    if max(sizes) > LARGEST or blocks > MOST_BLOCKS:
        raise ValueError(f"no size of the encoder may be over {LARGEST}, nor its blocks over {MOST_BLOCKS}")


def _check_heads(model_dim: int, heads: int) -> None:
    if model_dim % heads:
        raise ValueError(f"model_dim {model_dim} must be a multiple of heads {heads}")


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
