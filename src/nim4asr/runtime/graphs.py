"""The graphs of a network for onnxruntime: their files, inputs and outputs."""

from typing import NamedTuple

# Where a graph says that its weights lie: nowhere; they are given to it by their names.
PLACE = "model.safetensors"


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
        return f"{self.name}.onnx"


_HEARING = ("encoder.", "phoneme_head.", "adaptor.")
_STATE = ("keys", "values", "convolution", "frames")
GRAPHS = (
    Graph("encoder", ("features", "lengths"), ("log_probs", "speech"), ((0, 1), (0,)), _HEARING),
    Graph(
        "encoder_chunk",
        ("features", "lengths", *_STATE),
        ("log_probs", "speech", *(f"next_{name}" for name in _STATE)),
        ((0, 1), (0,), (1, 3), (1, 3), (1,), (0,)),
        _HEARING,
    ),
    Graph(
        "language_model",
        ("embeddings", "keys", "values"),
        ("log_probs", "all_keys", "all_values"),
        ((0, 1), (1, 3), (1, 3)),
        ("llm.",),
    ),
)
