"""The phoneme head: encoder frames to log probabilities over the phoneme table, trained by CTC."""

from dataclasses import dataclass

from torch import Tensor, nn

from nim4asr.phonemes import TABLE


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


class PhonemeHead(nn.Module):
    """A 3-layer MLP with Swish."""

    def __init__(self, config: PhonemeHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(
            nn.Linear(config.encoder_dim, config.hidden_dim),
            nn.SiLU(),
            nn.Linear(config.hidden_dim, config.hidden_dim),
            nn.SiLU(),
            nn.Linear(config.hidden_dim, config.phonemes),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T', D) to log probabilities (B, T', phonemes) in float32; index 0 is the blank."""
        logits: Tensor = self.net(frames)
        return logits.float().log_softmax(dim=-1)
