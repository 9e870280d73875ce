"""The speech encoder: a Conformer in the FireRedASR-AED layout, whole or in chunks.

4x convolutional sub-sampling, then Conformer blocks; 25 frames (T') a second from 100 (T). Parameter names
are those of the public FireRedASR checkpoints, so that their state dicts load as they are.

A block, pre-norm (FFN and attention hold their own residual):

    x = x/2 + FFN1(x)/2;  x = MHSA(x);  x = Conv(x);  x = x/2 + FFN2(x)/2;  x = LayerNorm(x)

Between two chunks it keeps the keys and values of its attention, and half a kernel of what its
convolutions take in.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from nim4asr.model.encoders.base import Encoder, State, output_lengths, silence_padding, visible_frames
from nim4asr.model.shapes import ChunkScheme, ConformerConfig


class Conformer(Encoder):
    """Features (B, T, bins) to acoustic frames (B, T', D)."""

    config: ConformerConfig

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.input_preprocessor = Subsampling(config)
        self.layer_stack = nn.ModuleList(Block(config) for _ in range(config.blocks))

    def forward(
        self, features: Tensor, lengths: Tensor, chunks: ChunkScheme | None = None
    ) -> tuple[Tensor, Tensor]:
        features = silence_padding(features, lengths)
        # However short, it has a frame to stand on.
        features = functional.pad(features, (0, 0, 0, self.config.stride + self.config.lookahead - 1))
        x = functional.dropout(self.input_preprocessor(features), self.config.dropout, self.training)
        # Under autocast the products are bfloat16; the sums of the residual stream keep the weights'
        # precision.
        x = x.to(self.input_preprocessor.out.weight.dtype)
        lengths = output_lengths(lengths, self.config)
        frames = x.shape[1]
        valid = torch.arange(frames, device=x.device) < lengths[:, None]
        visible = visible_frames(frames, lengths, chunks)
        positions = relative_positions(frames, frames, x)
        for block in self.layer_stack:
            x = block(x, positions, visible[:, None], valid, chunks)
        return x, lengths

    def forward_chunk(self, features: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        x = self.input_preprocessor(features)
        size, cached = x.shape[1], state["keys"].shape[3]
        device = x.device
        valid = torch.arange(size, device=device) < lengths[:, None]
        in_cache = torch.arange(cached, device=device) >= (cached - state["frames"])[:, None]
        visible = torch.cat([in_cache, valid], dim=1)[:, None, None, :]
        positions = relative_positions(size, cached + size, x)
        keys, values, convolutions = [], [], []
        for index, block in enumerate(self.layer_stack):
            assert isinstance(block, Block)
            past = (state["keys"][index], state["values"][index], state["convolution"][index])
            x, key, value, convolution = block.forward_chunk(x, positions, visible, valid, past)
            keys.append(key)
            values.append(value)
            convolutions.append(convolution)
        return x, {
            "keys": torch.stack(keys),
            "values": torch.stack(values),
            "convolution": torch.stack(convolutions),
            "frames": (state["frames"] + size).clamp(max=cached),
        }

    def kept_bytes(self, frames: int, half: bool) -> float:
        config = self.config
        dim, wide = config.model_dim, config.feedforward_multiplier * config.model_dim
        # Of a block: the feed-forward parts, the convolution, and three rows of scores for each head.
        in_block = 168 * dim + 16 * wide + 12 * config.heads * frames
        before = 124 * dim + 8 * config.subsampling_channels * config.input_dim
        return (before + config.blocks * in_block) * (0.55 if half else 1.0)


def relative_positions(queries: int, keys: int, like: Tensor) -> Tensor:
    """Sinusoids of the distances from each query back to each key, (queries + keys - 1, D).

    The queries are the last ``queries`` of the keys' positions. Row r stands for the distance
    keys - 1 - r, so the first row is the longest way back and the last one the farthest ahead.
    """
    dim = like.shape[-1]
    distance = torch.arange(keys - 1, -queries, -1, device=like.device, dtype=torch.float32)
    rates = torch.exp(
        torch.arange(0, dim, 2, device=like.device, dtype=torch.float32)
        * (-torch.log(torch.tensor(10_000.0)).item() / dim)
    )
    angles = distance[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(like.dtype)


class Subsampling(nn.Module):
    """Two 3x3 convolutions of stride 2 with ReLU, then a linear layer: 4x fewer frames."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        channels = config.subsampling_channels
        self.conv = nn.Sequential(
            nn.Conv2d(1, channels, 3, 2), nn.ReLU(), nn.Conv2d(channels, channels, 3, 2), nn.ReLU()
        )
        bins = ((config.input_dim - 1) // 2 - 1) // 2
        self.out = nn.Linear(channels * bins, config.model_dim)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, bins) to (B, ((T - 1) // 2 - 1) // 2, D)."""
        x = self.conv(features[:, None])
        out: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """One Conformer block."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ffn1 = FeedForward(config)
        self.mhsa = RelativeAttention(config)
        self.conv = Convolution(config)
        self.ffn2 = FeedForward(config)
        self.layer_norm = nn.LayerNorm(config.model_dim)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        visible: Tensor,
        valid: Tensor,
        chunks: ChunkScheme | None,
    ) -> Tensor:
        x = 0.5 * x + 0.5 * self.ffn1(x)
        x = self.mhsa(x, positions, visible)
        x = self.conv(x, valid, chunks)
        x = 0.5 * x + 0.5 * self.ffn2(x)
        out: Tensor = self.layer_norm(x)
        return out

    def forward_chunk(
        self,
        x: Tensor,
        positions: Tensor,
        visible: Tensor,
        valid: Tensor,
        past: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = 0.5 * x + 0.5 * self.ffn1(x)
        x, keys, values = self.mhsa.forward_chunk(x, positions, visible, past[0], past[1])
        x, convolution = self.conv.forward_chunk(x, valid, past[2])
        x = 0.5 * x + 0.5 * self.ffn2(x)
        return self.layer_norm(x), keys, values, convolution


class FeedForward(nn.Module):
    """x + W2 swish(W1 LayerNorm(x))."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, inner = config.model_dim, config.model_dim * config.feedforward_multiplier
        self.net = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, inner),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(inner, dim),
            nn.Dropout(config.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.net(x)
        return out


class RelativeAttention(nn.Module):
    """x + multi-head attention with relative positions (Dai et al. 2019, Transformer-XL).

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . W_p p_(i-j)) / sqrt(d_k), where q, k and v each have
    a LayerNorm of their own over the same input.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, self.heads = config.model_dim, config.heads
        self.head_dim = dim // config.heads
        self.layer_norm_q = nn.LayerNorm(dim)
        self.layer_norm_k = nn.LayerNorm(dim)
        self.layer_norm_v = nn.LayerNorm(dim)
        self.w_qs = nn.Linear(dim, dim, bias=False)
        self.w_ks = nn.Linear(dim, dim, bias=False)
        self.w_vs = nn.Linear(dim, dim, bias=False)
        self.fc = nn.Linear(dim, dim, bias=False)
        self.linear_pos = nn.Linear(dim, dim, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(config.heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.zeros(config.heads, self.head_dim))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        query, keys, values = self._project(x)
        return x + self._attend(query, keys, values, positions, visible)

    def forward_chunk(
        self, x: Tensor, positions: Tensor, visible: Tensor, past_keys: Tensor, past_values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, keys, values = self._project(x)
        keys = torch.cat([past_keys, keys], dim=2)
        values = torch.cat([past_values, values], dim=2)
        out = x + self._attend(query, keys, values, positions, visible)
        # A start rather than a negative index: a cache of no frames stays one of no frames.
        start = keys.shape[2] - past_keys.shape[2]
        return out, keys[:, :, start:], values[:, :, start:]

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self._split(self.w_qs(self.layer_norm_q(x))),
            self._split(self.w_ks(self.layer_norm_k(x))),
            self._split(self.w_vs(self.layer_norm_v(x))),
        )

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, self.head_dim).transpose(1, 2)

    def _attend(
        self, query: Tensor, keys: Tensor, values: Tensor, positions: Tensor, visible: Tensor
    ) -> Tensor:
        """``query`` (B, H, Q, d), ``keys`` and ``values`` (B, H, K, d), ``positions`` (Q + K - 1, D),
        ``visible`` broadcast to (B, 1, Q, K); returns (B, Q, D).
        """
        places = self._split(self.linear_pos(positions)[None])
        scale = self.head_dim**-0.5
        query = scale * query
        scores = (query + scale * self.pos_bias_u[:, None]) @ keys.transpose(-2, -1)
        place = (query + scale * self.pos_bias_v[:, None]) @ places.transpose(-2, -1)
        # In place: at training these are the largest tensors there are. And finite, not -inf: a row that sees
        # nothing is padding, and must not become NaN and spoil its neighbours.
        scores.add_(_by_key(place, keys.shape[2])).masked_fill_(~visible, torch.finfo(scores.dtype).min)
        mixed = self.dropout(scores.softmax(dim=-1)) @ values
        out: Tensor = self.dropout(self.fc(mixed.transpose(1, 2).flatten(2)))
        return out


def _by_key(scores: Tensor, keys: int) -> Tensor:
    """(B, H, Q, Q + K - 1) scores by distance as a view (B, H, Q, K) of scores by key.

    Query i of Q needs, for key j, the column Q - 1 - i + j. So each row begins one column before the row
    above it, and in a flat view, from column Q - 1 on, rows one shorter have their keys in the same columns.
    """
    queries, width = scores.shape[2:]
    if queries == 1:
        return scores
    flat = scores.flatten(2)[..., queries - 1 : queries * width - 1]
    rows: Tensor = flat.unflatten(2, (queries, width - 1))  # type: ignore[no-untyped-call]
    return rows[..., :keys]


class Convolution(nn.Module):
    """x + pointwise, GLU, depthwise, LayerNorm, Swish, pointwise.

    In chunks, the depthwise convolution sees half a kernel of the past and nothing of the next chunk.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        dim, self.reach = config.model_dim, config.kernel_size // 2
        self.pre_layer_norm = nn.LayerNorm(dim)
        self.pointwise_conv1 = nn.Conv1d(dim, dim * 4, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(
            dim * 2, dim * 2, config.kernel_size, padding=self.reach, groups=dim * 2, bias=False
        )
        # A LayerNorm; the public checkpoints call it so.
        self.batch_norm = nn.LayerNorm(dim * 2)
        self.pointwise_conv2 = nn.Conv1d(dim * 2, dim, 1, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, valid: Tensor, chunks: ChunkScheme | None) -> Tensor:
        inner = self._gate(x, valid)
        weight, reach = self.depthwise_conv.weight, self.reach
        if chunks is None:
            mixed = _depthwise(functional.pad(inner, (0, 0, reach, reach)), weight)
        else:
            mixed = _depthwise(functional.pad(inner, (0, 0, reach, 0)), weight[..., : reach + 1])
            if reach and chunks.size > 1:
                mixed = mixed + self._ahead_in_chunk(inner, weight[..., reach + 1 :], chunks.size)
        return self._finish(x, mixed, valid)

    def forward_chunk(self, x: Tensor, valid: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.cat([past, self._gate(x, valid)], dim=1)
        mixed = _depthwise(functional.pad(inner, (0, 0, 0, self.reach)), self.depthwise_conv.weight)
        return self._finish(x, mixed, valid), inner[:, inner.shape[1] - self.reach :]

    def _ahead_in_chunk(self, inner: Tensor, weight: Tensor, size: int) -> Tensor:
        """What ``weight``, the half of the kernel that looks ahead, sees of each frame's own chunk, (B, T',
        C).

        The chunks stand one after the other with half a kernel of zeros behind each. One long row, because
        the gradient of a kernel is slow over many short ones.
        """
        batch, frames, channels = inner.shape
        chunks = functional.pad(inner, (0, 0, 0, -frames % size)).reshape(batch, -1, size, channels)
        spaced = functional.pad(chunks, (0, 0, 0, self.reach)).flatten(1, 2)
        ahead = _depthwise(functional.pad(spaced[:, 1:], (0, 0, 0, self.reach)), weight)
        ahead = ahead.reshape(batch, -1, size + self.reach, channels)[:, :, :size]
        return ahead.reshape(batch, -1, channels)[:, :frames]

    def _gate(self, x: Tensor, valid: Tensor) -> Tensor:
        inner = self.pre_layer_norm(x).masked_fill(~valid[..., None], 0.0)
        return functional.glu(self._pointwise(self.pointwise_conv1, inner), dim=-1)

    def _finish(self, x: Tensor, mixed: Tensor, valid: Tensor) -> Tensor:
        out = functional.silu(self.batch_norm(mixed))
        out = self.dropout(self._pointwise(self.pointwise_conv2, out))
        added: Tensor = x + out.masked_fill(~valid[..., None], 0.0)
        return added

    @staticmethod
    def _pointwise(convolution: nn.Conv1d, x: Tensor) -> Tensor:
        """A convolution of width 1 as the matrix product it is: (B, T, C) to (B, T, C')."""
        out: Tensor = functional.linear(x, convolution.weight[..., 0])
        return out


def _depthwise(padded: Tensor, weight: Tensor) -> Tensor:
    """Each channel of (B, T + K - 1, C) convolved with its own row of ``weight`` (C, 1, K): (B, T, C).

    In two dimensions, as an image one pixel high whose channels are its innermost axis: one-dimensional
    convolutions would copy it to have time there, and their backward pass takes three times as long.
    """
    image = padded.transpose(1, 2)[:, :, None]
    return functional.conv2d(image, weight[:, :, None], groups=weight.shape[0])[:, :, 0].transpose(1, 2)
