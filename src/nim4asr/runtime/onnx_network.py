"""The network run by onnxruntime, on a processor: exported graphs and the model's own safetensors, without
torch.

Each graph is made ready when it is first needed, with its own weights from the file, as float32. What the
encoder hears is encoded a row at a time: on a processor a batch brings nothing. The language model's rows of
one length, such as the beams of a text, share a call, for each call reads all of its weights.
"""

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError, is_out_of_memory
from nim4asr.files import reason
from nim4asr.model.folder import ModelFolder
from nim4asr.model.quantization import SCALE, dequantized, is_quantized, is_scale
from nim4asr.model.shapes import ChunkScheme
from nim4asr.runtime.graphs import Graph, graphs_of
from nim4asr.runtime.network import ChunkInput, Encoded, Model, check_complete

_EMBEDDINGS = "llm.model.embed_tokens.weight"
_HEAD = "llm.lm_head.weight"
# Errors only: what it warns of is its own affair.
_SEVERITY = 3


# What one chunk leaves to the next: the tensors of the encoder's state, by name, for one stream.
State = dict[str, NDArray[Any]]


class KvPrefix(NamedTuple):
    """Keys and values of a slot, (layers, 1, heads, length, head dim) each. Never written to, so forks share
    them.
    """

    keys: Floats
    values: Floats

    @property
    def length(self) -> int:
        return int(self.keys.shape[3])


class OnnxNetwork:
    """Graphs and weights behind the calls of ``nim4asr.runtime.network.Network``."""

    def __init__(self, folder: ModelFolder, threads: int) -> None:
        config = folder.config
        check_complete(config)
        assert config.llm is not None and config.adaptor is not None
        self.config = config
        self._clock = config.clock
        self._stack = config.adaptor.stack
        self._folder, self._threads = folder, threads
        self._embeddings = _weights(folder, (_EMBEDDINGS,))[_EMBEDDINGS]
        self._graphs = {graph.name: graph for graph in graphs_of(config)}
        self._sessions: dict[str, Any] = {}
        # A model without one of its graphs is told of now; each is made ready when it is first needed.
        for graph in self._graphs.values():
            path = folder.path / graph.file
            if not path.exists():
                raise InputError(
                    f"{path}: this graph of the model is missing; write all with: nim4 export {folder.path}"
                )

    def encode(self, features: Sequence[Floats], chunks: ChunkScheme | None) -> list[Encoded]:
        if chunks is not None:
            return [self._in_chunks(feature, chunks) for feature in features]
        return [self._whole(feature) for feature in features]

    def initial_state(self, chunks: ChunkScheme) -> State:
        return {
            name: np.zeros(tensor.shape, np.int64 if tensor.counts else np.float32)
            for name, tensor in self.config.encoder.state(chunks).items()
        }

    def encode_chunks(self, inputs: Sequence[ChunkInput]) -> list[tuple[Encoded, Any]]:
        return [self._chunk(chunk) for chunk in inputs]

    def embed(self, tokens: Sequence[int]) -> Floats:
        embedded: Floats = self._embeddings[list(tokens)]
        return embedded

    def open_cache(self) -> "OnnxCache":
        return OnnxCache(self)

    def next_log_probs(self, embeddings: Floats, past: KvPrefix) -> tuple[Floats, KvPrefix]:
        """Log probabilities (B, vocabulary) after ``embeddings`` (B, n, D_llm), and keys and values with
        theirs.
        """
        inputs = {"embeddings": embeddings, "keys": past.keys, "values": past.values}
        log_probs, keys, values = self._run("language_model", inputs)
        return log_probs, KvPrefix(keys, values)

    def empty(self) -> KvPrefix:
        """Keys and values of nothing."""
        llm = self.config.llm
        assert llm is not None
        shape = (llm["num_hidden_layers"], 1, llm["num_key_value_heads"], 0, llm["head_dim"])
        return KvPrefix(np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def _run(self, name: str, inputs: dict[str, Any]) -> list[Any]:
        graph = self._graphs[name]
        if name not in self._sessions:
            self._sessions[name] = _session(graph, self._folder, self._threads)
            _give_back_memory()
        found: list[Any] = self._sessions[name].run(list(graph.outputs), inputs)
        return found

    def _whole(self, features: Floats) -> Encoded:
        frames = self._clock.output_length(len(features))
        # Two frames at least: of one the graph's sizes could not be told from constants.
        longest = max(len(features), self._clock.window(2))
        padded = np.zeros((1, longest, features.shape[1]), np.float32)
        padded[0, : len(features)] = features
        inputs = {"features": padded, "lengths": np.array([len(features)], np.int64)}
        log_probs, speech = self._run("encoder", inputs)
        return Encoded(log_probs[0, :frames], speech[0, : frames // self._stack])

    def _chunk(self, chunk: ChunkInput) -> tuple[Encoded, State]:
        inputs = {
            "features": chunk.features[None],
            "lengths": np.array([chunk.frames], np.int64),
            **chunk.state,
        }
        log_probs, speech, *state = self._run("encoder_chunk", inputs)
        left = dict(zip(chunk.state, state, strict=True))
        encoded = Encoded(log_probs[0, : chunk.frames], speech[0, : chunk.frames // self._stack])
        return encoded, left

    def _in_chunks(self, features: Floats, chunks: ChunkScheme) -> Encoded:
        """A whole segment as a live stream would hear it."""
        state = self.initial_state(chunks)
        frames, window_length = self._clock.output_length(len(features)), self._clock.window(chunks.size)
        parts = []
        for first in range(0, max(frames, 1), chunks.size):
            window = np.zeros((window_length, features.shape[1]), np.float32)
            own = features[self._clock.stride * first :][: len(window)]
            window[: len(own)] = own
            encoded, state = self._chunk(ChunkInput(window, min(chunks.size, frames - first), state))
            parts.append(encoded)
        return Encoded(*(np.concatenate(each) for each in zip(*parts, strict=True)))


class OnnxCache:
    """Slots of keys and values, each an array of its own."""

    def __init__(self, network: OnnxNetwork) -> None:
        self._network = network
        self._slots: dict[int, KvPrefix] = {}
        self._free: list[int] = []

    @property
    def slots_in_use(self) -> int:
        return len(self._slots) - len(self._free)

    def allocate(self) -> int:
        slot = self._free.pop() if self._free else len(self._slots)
        self._slots[slot] = self._network.empty()
        return slot

    def free(self, slot: int) -> None:
        self._slots[slot] = self._network.empty()
        self._free.append(slot)

    def fork(self, slot: int) -> int:
        new = self.allocate()
        self._slots[new] = self._slots[slot]
        return new

    def length(self, slot: int) -> int:
        return self._slots[slot].length

    def truncate(self, slot: int, length: int) -> None:
        held = self._slots[slot]
        if not 0 <= length <= held.length:
            raise ValueError(f"slot {slot} holds {held.length} positions, not {length}")
        if length < held.length:
            self._slots[slot] = KvPrefix(*(np.ascontiguousarray(array[:, :, :, :length]) for array in held))

    def export(self, slot: int) -> KvPrefix:
        return self._slots[slot]

    def load(self, slot: int, prefix: KvPrefix) -> None:
        self._slots[slot] = prefix

    def append(self, slots: Sequence[int], embeddings: Sequence[Floats]) -> Floats:
        alike: dict[tuple[int, int], list[int]] = {}
        for row, (slot, own) in enumerate(zip(slots, embeddings, strict=True)):
            alike.setdefault((self._slots[slot].length, len(own)), []).append(row)
        log_probs: list[Floats] = [np.zeros(0, np.float32)] * len(slots)
        for rows in alike.values():
            held = [self._slots[slots[row]] for row in rows]
            past = held[0] if len(rows) == 1 else KvPrefix(*map(_joined, zip(*held, strict=True)))
            found, whole = self._network.next_log_probs(np.stack([embeddings[row] for row in rows]), past)
            for place, row in enumerate(rows):
                log_probs[row] = found[place]
                self._slots[slots[row]] = whole if len(rows) == 1 else _row(whole, place)
        return np.stack(log_probs)


def _row(whole: KvPrefix, row: int) -> KvPrefix:
    """One row of a batch: a view, which keeps the batch in memory for as long as a text grows and no
    longer.
    """
    return KvPrefix(whole.keys[:, row : row + 1], whole.values[:, row : row + 1])


def _joined(rows: tuple[Floats, ...]) -> Floats:
    return np.concatenate(rows, axis=1)


def onnx_model(place: str | Path | ModelFolder, threads: int | None = None) -> Model:
    """The model in the folder ``place`` with its graphs. Raises ``InputError`` if anything is
    missing, damaged or another's.
    """
    folder = ModelFolder.open(place)
    folder.check_weights()
    network = OnnxNetwork(folder, threads or 1)
    return Model(network, folder.normalization, folder.tokenizer)


def _give_back_memory() -> None:
    """Let the system have what has been freed: making a session ready takes its weights three times over, and
    glibc would keep two thirds of that for nano's whole life, 70 MB.
    """
    # Another C library has no such call, and Windows no such library.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _weights(folder: ModelFolder, blocks: tuple[str, ...]) -> dict[str, Floats]:
    """The weights whose names begin with one of ``blocks``, as float32. Tied ones have both their names."""
    from safetensors import SafetensorError, safe_open

    weights: dict[str, Floats] = {}
    for path in folder.weight_files:
        try:
            with safe_open(path, framework="numpy") as file:
                names = dict.fromkeys(file.keys())
                for name in names:
                    twin = {_EMBEDDINGS: _HEAD, _HEAD: _EMBEDDINGS}.get(name, name)
                    wanted = [known for known in {name, twin} if known.startswith(blocks)]
                    if wanted and not is_scale(names, name):
                        weights |= dict.fromkeys(wanted, _floats(file, name, names))
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: the weights cannot be read ({reason(error)})") from None
    if _EMBEDDINGS.startswith(blocks) and _EMBEDDINGS not in weights:
        raise InputError(f"{folder.path}: the weights lack {_EMBEDDINGS!r}")
    return weights


def _floats(file: Any, name: str, names: Mapping[str, Any]) -> Floats:
    stored = file.get_tensor(name)
    if is_quantized(names, name):
        return dequantized(stored, file.get_tensor(name + SCALE))
    return np.ascontiguousarray(stored, np.float32)


def _session(graph: Graph, folder: ModelFolder, threads: int) -> Any:
    """The graph, ready to run with its weights, which it alone holds from now on."""
    path = folder.path / graph.file
    if not folder.is_as_saved(path):
        raise InputError(f"{path}: the graph is damaged; write all again with: nim4 export {folder.path}")
    weights = _weights(folder, graph.blocks)
    # Tokens are embedded by the network, not by its graphs.
    weights.pop(_EMBEDDINGS, None)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights.values()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY
    # Threads that spin while they wait take the processor from whoever else is busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_external_initializers(list(weights), values)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its own classes of errors have no common base.
        if is_out_of_memory(error):
            raise InputError(f"{folder.path}: there is not enough memory for the model") from None
        raise InputError(
            f"{path}: onnxruntime cannot run this graph with the model's weights ({reason(error)}); "
            f"write the graphs again with: nim4 export {folder.path}"
        ) from None
