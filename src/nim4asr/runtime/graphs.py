"""The graphs of a network for onnxruntime: their files, inputs and outputs."""

from typing import NamedTuple

from nim4asr.model.configuration import Nim4Config
from nim4asr.model.shapes import ChunkScheme

# Where a graph says that its weights lie: nowhere; they are given to it by their names.
PLACE = "model.safetensors"
NAMES = ("encoder", "encoder_chunk", "language_model")


class Graph(NamedTuple):
    """A graph's file, the names of its inputs and outputs, the axes of each input that may be of any size,
    and with what the names of its weights begin.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: tuple[tuple[int, ...], ...]
    blocks: tuple[str, ...]

    @property
    def file(self) -> str:
        return file_of(self.name)


def file_of(name: str) -> str:
    """The file of the graph ``name``."""
    return f"{name}.onnx"


_HEARING = ("encoder.", "phoneme_head.", "adaptor.")


def graphs_of(config: Nim4Config) -> tuple[Graph, ...]:
    """The graphs of a network; one whose encoder was never trained in chunks has none for chunks."""
    state = config.encoder.state(ChunkScheme())
    dynamic = [(tensor.batch_axis, *tensor.chunk_axes) for tensor in state.values()]
    whole, chunk, language_model = NAMES
    graphs = [
        Graph(whole, ("features", "lengths"), ("log_probs", "speech"), ((0, 1), (0,)), _HEARING),
        Graph(
            chunk,
            ("features", "lengths", *state),
            ("log_probs", "speech", *(f"next_{name}" for name in state)),
            ((0, 1), (0,), *dynamic),
            _HEARING,
        ),
        Graph(
            language_model,
            (
                "embeddings",
                "shared_keys",
                "shared_values",
                "shared_lengths",
                "keys",
                "values",
                "lengths",
            ),
            ("log_probs", "new_keys", "new_values"),
            ((0, 1, 2), (1, 3), (1, 3), (0,), (1, 2, 4), (1, 2, 4), (0, 1)),
            ("llm.",),
        ),
    ]
    return tuple(graph for graph in graphs if graph.name != chunk or config.chunks is not None)
