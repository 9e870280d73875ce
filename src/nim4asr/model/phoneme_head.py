"""The phoneme head: encoder frames to log probabilities over the phoneme table, trained by CTC."""

from torch import Tensor, nn

from nim4asr.model.shapes import PhonemeHeadConfig


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
