"""The network run by torch: any language model, any device, and the weights that training holds."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nim4asr.audio.samples import Floats
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.encoders import State
from nim4asr.model.nim4 import Nim4
from nim4asr.model.shapes import ChunkScheme
from nim4asr.model.slot_cache import SlotCache
from nim4asr.runtime.network import ChunkInput, Encoded, Model, check_complete


class TorchNetwork:
    """A ``Nim4`` behind the calls of ``nim4asr.runtime.network.Network``."""

    def __init__(self, network: Nim4) -> None:
        check_complete(network.config)
        self.network = network

    @property
    def config(self) -> Nim4Config:
        return self.network.config

    @cached_property
    def _weight(self) -> Tensor:
        return self.network.encoder.weight

    @torch.no_grad()
    def encode(self, features: Sequence[Floats], chunks: ChunkScheme | None) -> list[Encoded]:
        padded = np.zeros((len(features), max(1, *map(len, features)), features[0].shape[1]), np.float32)
        for row, matrix in enumerate(features):
            padded[row, : len(matrix)] = matrix
        lengths = torch.tensor([len(feature) for feature in features], device=self._weight.device)
        frames, frame_lengths = self.network.encoder(self._tensor(padded), lengths, chunks)
        return self._heads(frames, frame_lengths)

    def initial_state(self, chunks: ChunkScheme) -> State:
        return self.network.encoder.initial_state(1, chunks)

    @torch.no_grad()
    def encode_chunks(self, inputs: Sequence[ChunkInput]) -> list[tuple[Encoded, Any]]:
        features = self._tensor(np.stack([chunk.features for chunk in inputs]))
        lengths = torch.tensor([chunk.frames for chunk in inputs], device=self._weight.device)
        encoder = self.network.encoder
        state = encoder.joined([chunk.state for chunk in inputs])
        frames, state = encoder.forward_chunk(features, lengths, state)
        encoded = self._heads(frames, lengths)
        return [(frames, encoder.of_row(state, row)) for row, frames in enumerate(encoded)]

    @torch.no_grad()
    def embed(self, tokens: Sequence[int]) -> Floats:
        embed = self.network.llm.get_input_embeddings()
        return _numpy(embed(torch.tensor(list(tokens), dtype=torch.long, device=embed.weight.device)))

    def open_cache(self) -> "TorchCache":
        return TorchCache(self.network.llm)

    def _tensor(self, features: Floats) -> Tensor:
        return torch.from_numpy(features).to(self._weight.device, self._weight.dtype)

    def _heads(self, frames: Tensor, lengths: Tensor) -> list[Encoded]:
        assert self.network.phoneme_head is not None and self.network.adaptor is not None
        log_probs = _numpy(self.network.phoneme_head(frames))
        speech, speech_lengths = self.network.adaptor(frames, lengths)
        embeddings = _numpy(speech)
        return [
            Encoded(log_probs[row, :n], embeddings[row, :m])
            for row, (n, m) in enumerate(zip(lengths.tolist(), speech_lengths.tolist(), strict=True))
        ]


class TorchCache(SlotCache):
    """A ``SlotCache`` that takes and gives numpy's arrays."""

    def append(self, slots: Sequence[int], embeddings: Sequence[Floats]) -> Floats:
        weight = self._llm.get_input_embeddings().weight
        rows = [torch.from_numpy(embedding).to(weight.device, weight.dtype) for embedding in embeddings]
        return _numpy(self.extend(slots, rows).float().log_softmax(dim=-1))


def torch_model(checkpoint: Checkpoint) -> Model:
    """The checkpoint, ready to run. Raises ``InputError`` if it holds an encoder alone."""
    network = TorchNetwork(checkpoint.network)
    assert checkpoint.tokenizer is not None
    return Model(network, checkpoint.normalization, checkpoint.tokenizer)


def _numpy(tensor: Tensor) -> Floats:
    array: Floats = tensor.detach().float().cpu().numpy()
    return array
