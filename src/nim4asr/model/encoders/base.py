"""What every encoder can do, whatever it is made of."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nim4asr.model.shapes import ChunkScheme, EncoderConfig

State = dict[str, Tensor]


class Encoder(nn.Module):
    """Features (B, T, bins) to acoustic frames (B, T', D).

    The same weights run in three ways that agree with one another:

    - ``forward``: the whole utterance, every frame seeing every other;
    - ``forward`` with a ``ChunkScheme``: the whole utterance at once, each frame seeing its own chunk and
      a number of chunks to the left. Training runs so;
    - ``forward_chunk``: one chunk at a time with a state. Live speech runs so, and nothing is computed
      twice.
    """

    config: EncoderConfig

    def forward(
        self, features: Tensor, lengths: Tensor, chunks: ChunkScheme | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode whole utterances.

        ``features`` (B, T, bins), normalized; ``lengths`` (B,), frames that count in each row, the rest
        is padding of any value. Without ``chunks`` every frame sees the whole utterance. Returns the
        frames (B, T', D) and their lengths (B,); frames past a length are undefined.
        """
        raise NotImplementedError

    def forward_chunk(self, features: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Encode the next chunk of each stream.

        ``features`` (B, stride * size + lookahead, bins): the chunk's frames and the first of the next
        chunk, normalized; ``lengths`` (B,): how many *encoder* frames of the chunk are speech, which is less
        than ``size`` at the end of a stream only. Past the end of a stream ``features`` must be zero.
        Returns the frames (B, size, D) and the next state.
        """
        raise NotImplementedError

    @property
    def inner_frames(self) -> int:
        """How many frames its blocks compute for each that it gives."""
        return 1

    def kept_bytes(self, frames: int, half: bool) -> float:
        """About how many bytes training keeps of each frame of an utterance of ``frames`` (T'), until the
        gradients have passed: in float32, or ``half``, where autocast multiplies in bfloat16. Counted with
        ``torch.autograd.graph.saved_tensors_hooks``; weights are not among them.
        """
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """One of its weights: where they are, and of what type."""
        return next(self.parameters())

    def initial_state(self, batch: int, chunks: ChunkScheme) -> State:
        """The state of ``batch`` streams that have heard nothing: zeros."""
        state = {}
        for name, tensor in self.config.state(chunks).items():
            shape = list(tensor.shape)
            shape[tensor.batch_axis] = batch
            dtype = torch.long if tensor.counts else self.weight.dtype
            state[name] = torch.zeros(shape, dtype=dtype, device=self.weight.device)
        return state

    def joined(self, states: Sequence[State]) -> State:
        """The states of several streams as those of one batch."""
        if len(states) == 1:
            return states[0]
        axes = self._batch_axes()
        return {name: torch.cat([state[name] for state in states], axis) for name, axis in axes.items()}

    def of_row(self, state: State, row: int) -> State:
        """The state of one stream of a batch, as its own."""
        axes = self._batch_axes()
        if all(state[name].shape[axis] == 1 for name, axis in axes.items()):
            return state
        # Copies: a view would keep the whole batch in memory for as long as its slowest stream.
        return {name: state[name].narrow(axis, row, 1).clone() for name, axis in axes.items()}

    def _batch_axes(self) -> dict[str, int]:
        return {name: tensor.batch_axis for name, tensor in self.config.state(ChunkScheme()).items()}


def output_lengths(lengths: Tensor, config: EncoderConfig) -> Tensor:
    """Encoder frames for each number of feature frames, as ``FrameClock.output_length``."""
    missing = 0 if config.pads_end else config.lookahead
    return torch.div(lengths - missing, config.stride, rounding_mode="floor").clamp(min=0)


def silence_padding(features: Tensor, lengths: Tensor) -> Tensor:
    """``features`` (B, T, bins) with zeros past each length."""
    index = torch.arange(features.shape[1], device=features.device)
    return features.masked_fill((index >= lengths[:, None])[..., None], 0.0)


def visible_frames(frames: int, lengths: Tensor, chunks: ChunkScheme | None, joined: int = 1) -> Tensor:
    """Which frame sees which, (B, T', T') or (B, 1, T'): those that count and, with ``chunks``, those of its
    own chunk and of as many before it as the scheme says; ``joined`` frames count as one of the scheme's.
    """
    index = torch.arange(frames, device=lengths.device)
    visible = (index < lengths[:, None])[:, None, :]
    if chunks is None:
        return visible
    chunk = torch.div(index, chunks.size * joined, rounding_mode="floor")
    behind = chunk[:, None] - chunk[None, :]
    return visible & ((behind >= 0) & (behind <= chunks.left))
