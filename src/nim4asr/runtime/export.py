"""A network's graphs for onnxruntime: written once by torch, run without it.

Three graphs, of which none holds a weight. Each names the tensors that it needs as they are named in the
model's safetensors, from which they are filled when it is loaded (``nim4asr.runtime.onnx_network``): the
graphs of a shape serve all weights of that shape, and nothing is stored twice.

- ``encoder``: features (B, T, bins) and lengths (B,) to log_probs (B, T', phonemes) and speech (B, S, D_llm);
- ``encoder_chunk``: features (B, window, bins), lengths (B,) and a state to the same and the next state;
- ``language_model``: for S texts of W rows each, such as the beams of a text, embeddings (S, W, n, D_llm),
  the keys and values that a text's rows share (layers, S, heads, P, d), those that each has of its own
  (layers, S, W, heads, p, d), and how many of P and of p count, (S,) and (S, W), to log_probs
  (S, W, vocabulary) and the keys and values of what is new (layers, S, W, heads, n, d).

One ``encoder_chunk`` serves chunks of any size; its state is the encoder's, by the names of its tensors.
The language model is written here once more, for no cache of Hugging Face's can be exported; only Qwen3's
architecture is.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nim4asr.errors import InputError
from nim4asr.files import atomic_file, write_atomic
from nim4asr.model.folder import SUMS, ModelFolder, check_sum
from nim4asr.model.nim4 import Nim4
from nim4asr.model.shapes import ChunkScheme
from nim4asr.runtime.graphs import PLACE, Graph, graphs_of

_OPSET = 20


class _Whole(nn.Module):
    def __init__(self, network: Nim4) -> None:
        super().__init__()
        self.encoder, self.phoneme_head = network.encoder, network.phoneme_head
        self.adaptor = network.adaptor

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames, lengths = self.encoder(features, lengths)
        return self.phoneme_head(frames), self.adaptor(frames, lengths)[0]  # type: ignore[misc]


class _Chunk(_Whole):
    def __init__(self, network: Nim4) -> None:
        super().__init__(network)
        self.names = tuple(network.config.encoder.state(ChunkScheme()))

    def forward(  # type: ignore[override]
        self, features: Tensor, lengths: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        past = dict(zip(self.names, state, strict=True))
        frames, new = self.encoder.forward_chunk(features, lengths, past)
        states = (new[name] for name in self.names)
        return (self.phoneme_head(frames), self.adaptor(frames, lengths)[0], *states)  # type: ignore[misc]


class _LanguageModel(nn.Module):
    """Qwen3 over explicit keys and values: pre-norm blocks, grouped heads with normed and rotated queries and
    keys.
    """

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm
        config = llm.config
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.dim: int = config.head_dim
        base = config.rope_parameters["rope_theta"]
        self.rates = base ** -(torch.arange(0, self.dim, 2, dtype=torch.float32) / self.dim)

    def forward(
        self,
        embeddings: Tensor,
        shared_keys: Tensor,
        shared_values: Tensor,
        shared_lengths: Tensor,
        keys: Tensor,
        values: Tensor,
        lengths: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        texts, rows, new, _ = embeddings.shape
        steps = torch.arange(new)
        places = (shared_lengths[:, None] + lengths)[:, :, None] + steps
        # (S, W, 1, n, d): one turn for all heads.
        angles = (places[..., None] * self.rates).repeat(1, 1, 1, 2)[:, :, None]
        turn = angles.cos(), angles.sin()
        # What no query sees, (S, W, 1, 1, n, P + p + n): padding, and what comes after it.
        absent = torch.arange(shared_keys.shape[3]) >= shared_lengths[:, None]
        absent_own = torch.arange(keys.shape[4]) >= lengths[..., None]
        later = steps > steps[:, None]
        hidden = torch.cat(
            [
                absent[:, None, None].expand(texts, rows, new, -1),
                absent_own[:, :, None].expand(texts, rows, new, -1),
                later.expand(texts, rows, new, new),
            ],
            dim=-1,
        )[:, :, None, None]
        x = embeddings
        new_keys, new_values = [], []
        for number, layer in enumerate(self.llm.model.layers):
            shared = shared_keys[number], shared_values[number]
            out, key, value = self._attend(layer, x, turn, hidden, shared, (keys[number], values[number]))
            x = x + out
            x = x + layer.mlp(_normed(layer.post_attention_layernorm, x))
            new_keys.append(key)
            new_values.append(value)
        logits = self.llm.lm_head(_normed(self.llm.model.norm, x[:, :, -1]))
        return logits.log_softmax(-1), torch.stack(new_keys), torch.stack(new_values)

    def _attend(
        self,
        layer: Any,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        hidden: Tensor,
        shared: tuple[Tensor, Tensor],
        past: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        own, normed = layer.self_attn, _normed(layer.input_layernorm, x)
        query = _normed(own.q_norm, self._split(own.q_proj(normed)))
        key = _normed(own.k_norm, self._split(own.k_proj(normed)))
        turned = _turned(torch.cat([query, key], dim=2), turn)
        query, key = turned[:, :, : self.heads], turned[:, :, self.heads :]
        value = self._split(own.v_proj(normed))
        keys, values = torch.cat([past[0], key], dim=3), torch.cat([past[1], value], dim=3)
        texts, rows, _, new, _ = query.shape
        each = self.heads // self.groups
        # A group's queries beside one another: of a row, for its own keys, (S, W, groups, heads a group x n,
        # d); of all rows of a text, for those that they share, (S, groups, W x heads a group x n, d).
        alone = query.reshape(texts, rows, self.groups, each * new, self.dim)
        together = alone.transpose(1, 2).flatten(2, 3)
        of_shared = together @ shared[0].transpose(-2, -1)
        of_shared = of_shared.reshape(texts, self.groups, rows, each * new, -1).transpose(1, 2)
        scores = torch.cat([of_shared, alone @ keys.transpose(-2, -1)], dim=-1) * self.dim**-0.5
        scores = scores.reshape(texts, rows, self.groups, each, new, -1)
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        shares = scores.softmax(-1).flatten(3, 4)
        length = shared[0].shape[2]
        to_shared = shares[..., :length].transpose(1, 2).flatten(2, 3) @ shared[1]
        to_shared = to_shared.reshape(texts, self.groups, rows, each * new, self.dim).transpose(1, 2)
        mixed = to_shared + shares[..., length:] @ values
        mixed = mixed.reshape(texts, rows, self.heads, new, self.dim)
        out: Tensor = own.o_proj(mixed.transpose(2, 3).flatten(3))
        return out, key, value

    def _split(self, x: Tensor) -> Tensor:
        """(S, W, n, heads x d) -> (S, W, heads, n, d)."""
        return x.reshape(*x.shape[:3], -1, self.dim).transpose(2, 3)


def _normed(norm: Any, x: Tensor) -> Tensor:
    """The root-mean-square norm ``norm``, by a division: so onnxruntime makes one operation of it."""
    root = (x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    scaled: Tensor = x / root * norm.weight
    return scaled


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions (Su et al. 2021), in halves as Qwen3 has them."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return x * turn[0] + torch.cat([-second, first], dim=-1) * turn[1]


def export(network: Nim4, folder: Path) -> list[Path]:
    """Write the graphs of ``network`` into ``folder``, and their check sums beside those of its weights;
    returns their paths.

    Raises ``InputError`` for a language model of another architecture than Qwen3.
    """
    if network.llm is None or network.llm.config.model_type != "qwen3":
        raise InputError("only a network with a language model of the architecture qwen3 can be exported")
    network = network.float().eval()
    written = []
    for graph in graphs_of(network.config):
        path = folder / graph.file
        data = _graph(graph, network)
        with atomic_file(path) as file:
            file.write(data)
        written.append(path)
    sums = ModelFolder(folder).sums | {path.name: check_sum(path) for path in written}
    write_atomic(folder / SUMS, json.dumps(dict(sorted(sums.items())), indent=1) + "\n")
    return written


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without what the exporter says about itself: its own warnings, and that it knows no torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _graph(graph: Graph, network: Nim4) -> bytes:
    examples = _examples(network)[graph.name]
    shapes: tuple[Any, ...] = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis in axes} for axes in graph.dynamic
    )
    module: nn.Module
    if graph.name == "language_model":
        module = _LanguageModel(network.llm)
    elif graph.name == "encoder":
        module = _Whole(network)
    else:
        module = _Chunk(network)
        shapes = (*shapes[:2], shapes[2:])
    with _quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=_OPSET,
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_shapes=shapes,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    data: bytes = _without_weights(program.model_proto, set(network.state_dict())).SerializeToString()
    return data


def _examples(network: Nim4) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of every graph: two rows, for a size of one would be taken for a constant."""
    chunks = ChunkScheme()
    bins, clock = network.config.features.bins, network.config.clock
    config = network.llm.config
    # Sizes that differ, all of two at least: equal ones would be taken for one another, one for a constant.
    texts, rows, new, shared, own = 2, 3, 4, 5, 6
    heads, layers = (config.num_key_value_heads, config.head_dim), config.num_hidden_layers
    of_text = torch.zeros(layers, texts, heads[0], shared, heads[1])
    of_row = torch.zeros(layers, texts, rows, heads[0], own, heads[1])
    state = network.encoder.initial_state(2, chunks)
    return {
        "encoder": (torch.zeros(2, 160, bins), torch.tensor([160, 120])),
        "encoder_chunk": (
            torch.zeros(2, clock.window(chunks.size), bins),
            torch.tensor([16, 12]),
            *state.values(),
        ),
        "language_model": (
            torch.zeros(texts, rows, new, config.hidden_size),
            of_text,
            of_text.clone(),
            torch.tensor([5, 3]),
            of_row,
            of_row.clone(),
            torch.tensor([[6, 5, 4], [3, 2, 0]]),
        ),
    }


def _without_weights(model: Any, weights: set[str]) -> Any:
    """The graph with the tensors of the model as names alone."""
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.data_location = tensor.EXTERNAL
            del tensor.external_data[:]
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", PLACE
    _forget_origins(model)
    return model


def _forget_origins(model: Any) -> None:
    """Take away where in the source each node came from: most of the file, and other at every export."""
    del model.metadata_props[:]
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        for part in (*graph.node, *getattr(graph, "value_info", ()), *getattr(graph, "initializer", ())):
            if hasattr(part, "metadata_props"):
                del part.metadata_props[:]
            part.doc_string = ""
