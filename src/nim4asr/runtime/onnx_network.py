"""The network run by onnxruntime, on a processor: exported graphs and the model's own safetensors, without
torch.

Each graph is made ready when it is first needed, with its own weights from the file, as float32. What the
encoder hears is encoded a row at a time: on a processor a batch brings nothing. The language model's rows
share a call, whatever their lengths, for each call reads all of its weights; and the beams of a text share
the keys and values of all that went before the text, which are neither copied nor moved while it is written.
"""

import ctypes
import threading
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


class KeyValues(NamedTuple):
    """Keys and values of some positions, (layers, heads, length, head dim) each. Never written to."""

    keys: Floats
    values: Floats

    @property
    def length(self) -> int:
        return int(self.keys.shape[2])

    def cut(self, length: int) -> "KeyValues":
        """The first ``length`` positions."""
        return KeyValues(*(np.ascontiguousarray(array[:, :, :length]) for array in self))

    def followed_by(self, *others: "KeyValues") -> "KeyValues":
        return KeyValues(*(np.concatenate(arrays, axis=2) for arrays in zip(self, *others, strict=True)))


class Slot(NamedTuple):
    """What a slot holds: ``shared`` with its forks, then what was written a token at a time."""

    shared: KeyValues
    own: KeyValues

    @property
    def length(self) -> int:
        return self.shared.length + self.own.length


class Padded(NamedTuple):
    """Keys and values of several rows, (layers, rows, heads, longest, head dim) each, of which ``lengths``
    (rows,) positions count.
    """

    keys: Floats
    values: Floats
    lengths: NDArray[np.int64]


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
        self._making_ready = threading.Lock()
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

    def next_log_probs(self, embeddings: Floats, shared: Padded, own: Padded) -> tuple[Floats, KeyValues]:
        """Log probabilities (S, W, vocabulary) after ``embeddings`` (S, W, n, D_llm), of S texts with W rows
        each, and the keys and values (layers, S, W, heads, n, head dim) of these positions.

        The rows of a text come after its ``shared`` positions; each has ``own``, row by row (S x W), between.
        """
        texts, rows = embeddings.shape[:2]
        inputs = {
            "embeddings": embeddings,
            "shared_keys": shared.keys,
            "shared_values": shared.values,
            "shared_lengths": shared.lengths,
            "keys": own.keys.reshape(len(own.keys), texts, rows, *own.keys.shape[2:]),
            "values": own.values.reshape(len(own.values), texts, rows, *own.values.shape[2:]),
            "lengths": own.lengths.reshape(texts, rows),
        }
        log_probs, keys, values = self._run("language_model", inputs)
        return log_probs, KeyValues(keys, values)

    def empty(self) -> KeyValues:
        """Keys and values of nothing."""
        llm = self.config.llm
        assert llm is not None
        shape = (llm["num_hidden_layers"], llm["num_key_value_heads"], 0, llm["head_dim"])
        return KeyValues(np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def _run(self, name: str, inputs: dict[str, Any]) -> list[Any]:
        graph = self._graphs[name]
        # Threads may share a network; onnxruntime lets them.
        with self._making_ready:
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
    """Slots of keys and values. A fork holds the same arrays; what is appended to either is in arrays of its
    own.
    """

    def __init__(self, network: OnnxNetwork) -> None:
        self._network = network
        self._nothing = network.empty()
        self._slots: dict[int, Slot] = {}
        self._free: list[int] = []
        # What the texts of the last call came after: mostly that of the next one's.
        self._last: tuple[list[KeyValues], Padded] | None = None

    @property
    def slots_in_use(self) -> int:
        return len(self._slots) - len(self._free)

    def allocate(self) -> int:
        slot = self._free.pop() if self._free else len(self._slots)
        self._slots[slot] = Slot(self._nothing, self._nothing)
        return slot

    def free(self, slot: int) -> None:
        self._slots[slot] = Slot(self._nothing, self._nothing)
        self._free.append(slot)
        if not self.slots_in_use:
            self._last = None

    def fork(self, slot: int) -> int:
        new = self.allocate()
        self._slots[new] = self._slots[slot]
        return new

    def length(self, slot: int) -> int:
        return self._slots[slot].length

    def truncate(self, slot: int, length: int) -> None:
        shared, own = held = self._slots[slot]
        if not 0 <= length <= held.length:
            raise ValueError(f"slot {slot} holds {held.length} positions, not {length}")
        if length < shared.length:
            self._slots[slot] = Slot(shared.cut(length), self._nothing)
        elif length < held.length:
            self._slots[slot] = Slot(shared, own.cut(length - shared.length))

    def export(self, slot: int) -> KeyValues:
        shared, own = self._slots[slot]
        return shared.followed_by(own) if own.length else shared

    def load(self, slot: int, prefix: KeyValues) -> None:
        self._slots[slot] = Slot(prefix, self._nothing)

    def append(self, slots: Sequence[int], embeddings: Sequence[Floats]) -> Floats:
        # Rows by the text that they are of; texts of as many rows, for as many positions, by call.
        texts: dict[tuple[int, int], list[int]] = {}
        for row, (slot, inputs) in enumerate(zip(slots, embeddings, strict=True)):
            texts.setdefault((id(self._slots[slot].shared), len(inputs)), []).append(row)
        calls: dict[tuple[int, int], list[list[int]]] = {}
        for (_, new), rows in texts.items():
            calls.setdefault((new, len(rows)), []).append(rows)
        log_probs: list[Floats] = [np.zeros(0, np.float32)] * len(slots)
        for alike in calls.values():
            inputs = np.stack([np.stack([embeddings[row] for row in rows]) for rows in alike])
            held = [[self._slots[slots[row]] for row in rows] for rows in alike]
            shared = self._side_by_side([rows[0].shared for rows in held])
            own = _padded([slot.own for rows in held for slot in rows])
            found, new_ones = self._network.next_log_probs(inputs, shared, own)
            for text, rows in enumerate(alike):
                for place, row in enumerate(rows):
                    log_probs[row] = found[text, place]
                    new_one = KeyValues(new_ones.keys[:, text, place], new_ones.values[:, text, place])
                    self._slots[slots[row]] = _grown(held[text][place], new_one, self._nothing)
        return np.stack(log_probs)

    def _side_by_side(self, shared: list[KeyValues]) -> Padded:
        """What several texts come after, padded; made once for as long as the same texts are written."""
        if self._last is not None and len(self._last[0]) == len(shared):
            before, padded = self._last
            if all(one is other for one, other in zip(before, shared, strict=True)):
                return padded
        padded = _padded(shared)
        self._last = shared, padded
        return padded


def _grown(held: Slot, new: KeyValues, nothing: KeyValues) -> Slot:
    """A single position, as texts grow by, goes to the row's own; many, as speech has, will be shared."""
    if new.length == 1:
        return Slot(held.shared, held.own.followed_by(new))
    return Slot(held.shared.followed_by(held.own, new), nothing)


def _padded(rows: Sequence[KeyValues]) -> Padded:
    """Side by side, of one position at least: graphs are not asked what is in nothing."""
    lengths = np.array([row.length for row in rows], np.int64)
    if len(rows) == 1 and rows[0].length:
        return Padded(rows[0].keys[:, None], rows[0].values[:, None], lengths)
    layers, heads, _, dim = rows[0].keys.shape
    keys, values = np.zeros((2, layers, len(rows), heads, max(1, lengths.max()), dim), np.float32)
    for place, row in enumerate(rows):
        keys[:, place, :, : row.length] = row.keys
        values[:, place, :, : row.length] = row.values
    return Padded(keys, values, lengths)


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
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its own classes of errors have no common base.
        if is_out_of_memory(error):
            raise InputError(f"{folder.path}: there is not enough memory for the model") from None
        raise InputError(
            f"{path}: onnxruntime cannot run this graph with the model's weights ({reason(error)}); "
            f"write the graphs again with: nim4 export {folder.path}"
        ) from None
    if tuple(each.name for each in session.get_inputs()) != graph.inputs:
        raise InputError(
            f"{path}: another version of nim4asr has written this graph; "
            f"write all again with: nim4 export {folder.path}"
        )
    return session
