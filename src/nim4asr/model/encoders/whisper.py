"""Whisper's encoder, whole or in chunks.

Two convolutions, sinusoidal positions from the segment's start, Transformer blocks, pre-norm, and a last
LayerNorm: 50 frames a second from 100, of which ``joined`` neighbours make one frame of the model. Parameter
names are those of Hugging Face's ``WhisperEncoder``, so that public checkpoints load as they are; positions
are computed, not stored.

    x = GELU(conv1(features));  x = GELU(conv2(x)) + positions
    x = x + MHSA(LayerNorm(x));  x = x + FC2(GELU(FC1(LayerNorm(x))))

The public weights have only ever heard windows of 30 s and the whole of them. What they make of shorter
sound, of chunks and of a fixed reference of loudness (``nim4asr.acoustics.whisper``) is for training to mend.

Between two chunks it keeps, beside keys and values, what the convolutions need of the past: one feature
frame, and one frame of the first convolution. Both are zero before the first chunk, as the convolutions'
own padding is. Past the end of an utterance the first convolution sees the zeros of its padding; the second
sees nothing of it, because a last frame of less than ``2 * joined`` feature frames is not made.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nim4asr.model.encoders.base import Encoder, State, output_lengths, silence_padding, visible_frames
from nim4asr.model.shapes import ChunkScheme, WhisperConfig


class WhisperEncoder(Encoder):
    """Normalized log-Mel features (B, T, bins) to acoustic frames (B, T', joined * model dim)."""

    config: WhisperConfig

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.input_dim, config.model_dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.model_dim, config.model_dim, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.layer_norm = nn.LayerNorm(config.model_dim)

    def forward(
        self, features: Tensor, lengths: Tensor, chunks: ChunkScheme | None = None
    ) -> tuple[Tensor, Tensor]:
        features = silence_padding(features, lengths)
        # A whole number of frames, and one to stand on however short it is.
        stride = self.config.stride
        features = functional.pad(features, (0, 0, 0, stride - features.shape[1] % stride))
        x = functional.gelu(self.conv1(features.transpose(1, 2)))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        start = torch.zeros(1, dtype=torch.long, device=x.device)
        x = (x + positions(start, x)).to(self.weight.dtype)
        x = functional.dropout(x, self.config.dropout, self.training)
        lengths = output_lengths(lengths, self.config)
        visible = visible_frames(x.shape[1], lengths * self.config.joined, chunks, self.config.joined)
        for layer in self.layers:
            x = layer(x, visible[:, None])
        return self._join(x), lengths

    def forward_chunk(self, features: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        x = torch.cat([state["past_features"], features], dim=1).transpose(1, 2)
        x = functional.gelu(functional.conv1d(x, self.conv1.weight, self.conv1.bias))
        convolved = x[:, :, -1:].transpose(1, 2)
        x = torch.cat([state["past_convolved"].transpose(1, 2), x], dim=2)
        x = functional.gelu(functional.conv1d(x, self.conv2.weight, self.conv2.bias, stride=2)).transpose(
            1, 2
        )
        joined = self.config.joined
        x = x + positions(state["frames"] * joined, x)
        new, cached = x.shape[1], state["keys"].shape[3]
        valid = torch.arange(new, device=x.device) < lengths[:, None] * joined
        in_cache = torch.arange(cached, device=x.device) >= (cached - state["frames"] * joined)[:, None]
        visible = torch.cat([in_cache, valid], dim=1)[:, None, None, :]
        keys, values = [], []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Block)
            x, key, value = layer.forward_chunk(x, visible, state["keys"][index], state["values"][index])
            keys.append(key)
            values.append(value)
        return self._join(x), {
            "keys": torch.stack(keys),
            "values": torch.stack(values),
            "past_features": features[:, -2:-1],
            "past_convolved": convolved,
            "frames": state["frames"] + new // joined,
        }

    @property
    def inner_frames(self) -> int:
        return self.config.joined

    def kept_bytes(self, frames: int, half: bool) -> float:
        dim, wide, blocks = self.config.model_dim, self.config.feedforward_dim, self.config.blocks
        inner, bins = self.inner_frames, self.config.input_dim
        # Of a block: norms, queries, keys and values, both layers of the feed-forward part, the mask's row.
        if half:
            return inner * (14 * dim + 4 * bins + blocks * (24 * dim + 4 * wide + 2 * inner * frames))
        return inner * (24 * dim + 8 * bins + blocks * (32 * dim + 8 * wide + 4 * inner * frames))

    def _join(self, x: Tensor) -> Tensor:
        """(B, joined * T', D) to (B, T', joined * D), after the last LayerNorm."""
        x = self.layer_norm(x)
        return x.reshape(x.shape[0], -1, self.config.frame_dim)


def positions(start: Tensor, like: Tensor) -> Tensor:
    """Whisper's sinusoids of the positions from ``start`` (B,) on, (B, T, D) like ``like``: sines, then
    cosines, of wavelengths from 2 pi to 10,000 * 2 pi.
    """
    frames, dim = like.shape[1:]
    half = dim // 2
    steps = torch.arange(half, device=like.device, dtype=torch.float32)
    rates = torch.exp(steps * (-torch.log(torch.tensor(10_000.0)).item() / max(1, half - 1)))
    index = torch.arange(frames, device=like.device) + start[:, None]
    angles = index.float()[..., None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(like.dtype)


class Block(nn.Module):
    """One Transformer block."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.model_dim)
        self.fc1 = nn.Linear(config.model_dim, config.feedforward_dim)
        self.fc2 = nn.Linear(config.feedforward_dim, config.model_dim)
        self.final_layer_norm = nn.LayerNorm(config.model_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        x = x + self.dropout(self.self_attn(self.self_attn_layer_norm(x), visible))
        return self._feed_forward(x)

    def forward_chunk(
        self, x: Tensor, visible: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, keys, values = self.self_attn.forward_chunk(
            self.self_attn_layer_norm(x), visible, past_keys, past_values
        )
        return self._feed_forward(x + out), keys, values

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner = functional.gelu(self.fc1(self.final_layer_norm(x)))
        out: Tensor = x + self.dropout(self.fc2(inner))
        return out


class SelfAttention(nn.Module):
    """Multi-head attention; keys have no bias, as in Whisper."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        dim, self.heads = config.model_dim, config.heads
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D); ``visible`` (B, 1, T or 1, T) says which frame sees which."""
        return self._attend(x, visible, self._split(self.k_proj(x)), self._split(self.v_proj(x)))

    def forward_chunk(
        self, x: Tensor, visible: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``forward``, behind keys and values (B, heads, P, D / heads) of the past; the newest P of both
        with them.
        """
        keys = torch.cat([past_keys, self._split(self.k_proj(x))], dim=2)
        values = torch.cat([past_values, self._split(self.v_proj(x))], dim=2)
        out = self._attend(x, visible, keys, values)
        new = x.shape[1]
        return out, keys[:, :, new:], values[:, :, new:]

    def _attend(self, x: Tensor, visible: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        # Finite, not -inf: a row that sees nothing is padding, and must not become NaN and spoil its
        # neighbours. Half of the least number, which no other type rounds to -inf under autocast.
        bias = torch.zeros(visible.shape, dtype=x.dtype, device=x.device)
        bias = bias.masked_fill(~visible, torch.finfo(x.dtype).min / 2)
        queries = self._split(self.q_proj(x))
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, heads, T, D / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
