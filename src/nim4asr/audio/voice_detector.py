"""Silero VAD: the probability of speech in 32 ms of sound after 32 ms, of one stream or of many at once.

The network is Silero's for 16 kHz (MIT), its weights unchanged, in a graph that hears many windows of many
streams in one call (tools/convert_silero.py). The same samples have the same probabilities, to the last bit,
however they are cut and whoever is heard beside them.
"""

import threading
from collections.abc import Sequence
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats

# The network hears 32 ms at a time, and of the window before its last 4 ms.
WINDOW = 512
_BEFORE = 64
_STATE = (2, 1, 128)
# So many windows of a stream go into one call: more would not be faster, and would not fit the caches.
_AT_ONCE = 32
# What the detector hears before the audio, and after audio that ends in the middle of what may be speech:
# half a second of faint noise. It takes sound that begins or ends at full level, as in a clip that was cut to
# a word, for none.
_CONTEXT = 16
_CONTEXT_LEVEL = 1e-3
# Errors only: what onnxruntime warns of is its own affair.
_SEVERITY = 3

_loading = threading.Lock()
_session: Any = None
_beginning: "tuple[Floats, Floats] | None" = None


def context() -> Floats:
    """The noise around the audio, always the same."""
    noise = np.random.default_rng(0).standard_normal(_CONTEXT * WINDOW)
    return (noise * _CONTEXT_LEVEL).astype(np.float32)


class VoiceDetector:
    """What the network remembers of one stream."""

    def __init__(self) -> None:
        self._state, self._before = _begun()

    def probabilities(self, samples: Floats) -> NDArray[np.float32]:
        """The probability of speech in each whole window of the next ``samples`` (N,)."""
        return probabilities_together([(self, samples)])[0]

    def advance(self, state: Floats, before: Floats) -> None:
        """Remember what the network made of the stream until now."""
        self._state, self._before = state, before

    @property
    def memory(self) -> tuple[Floats, Floats]:
        """State (2, 1, 128) and last samples (64,)."""
        return self._state, self._before


def probabilities_together(rows: Sequence[tuple[VoiceDetector, Floats]]) -> list[NDArray[np.float32]]:
    """The probability of speech in each whole window of the next samples (N,) of several streams, each with
    its detector.
    """
    counts = [len(samples) // WINDOW for _, samples in rows]
    # The longest first, so that those who have a window left are the first ones.
    order = sorted((row for row, count in enumerate(counts) if count), key=lambda row: -counts[row])
    found = [np.zeros(count, np.float32) for count in counts]
    sounds = [np.concatenate([rows[row][0].memory[1], rows[row][1]], dtype=np.float32) for row in order]
    states = [rows[row][0].memory[0] for row in order]
    for begin in range(0, max(counts, default=0), _AT_ONCE):
        heard = [row for row in order if counts[row] > begin]
        lengths = [min(counts[row] - begin, _AT_ONCE) for row in heard]
        windows = np.zeros((max(lengths), len(heard), _BEFORE + WINDOW), np.float32)
        for place, length in enumerate(lengths):
            windows[:length, place] = _windows(sounds[place], begin, length)
        probabilities, left = _run(windows, lengths, np.concatenate(states[: len(heard)], axis=1))
        for place, (row, length) in enumerate(zip(heard, lengths, strict=True)):
            found[row][begin : begin + length] = probabilities[:length, place]
            states[place] = left[:, place : place + 1]
    # All of them or none: what failed may be asked for again.
    for row, sound, state in zip(order, sounds, states, strict=True):
        end = counts[row] * WINDOW
        rows[row][0].advance(state.copy(), sound[end : end + _BEFORE].copy())
    return found


def _windows(sound: Floats, begin: int, count: int) -> Floats:
    """``count`` windows from the one of number ``begin`` on, each with what is heard before it, (count, 576).
    ``sound`` begins with what is heard before its first window.
    """
    whole = np.lib.stride_tricks.sliding_window_view(sound, _BEFORE + WINDOW)
    return whole[begin * WINDOW :: WINDOW][:count]


def _run(windows: Floats, lengths: Sequence[int], state: Floats) -> tuple[Floats, Floats]:
    """Probabilities (T, B) and the next state (2, B, 128) of ``windows`` (T, B, 576), ``lengths`` of each."""
    inputs = {"windows": windows, "lengths": np.array(lengths, np.int32), "state": state}
    probabilities, left = _loaded().run(None, inputs)
    return probabilities, left


def load() -> None:
    """Load the network now, which its first use would do otherwise."""
    _begun()


def _loaded() -> Any:
    global _session
    with _loading:
        if _session is None:
            _session = _opened()
        return _session


def _begun() -> tuple[Floats, Floats]:
    """What is remembered of the context before the audio; the same for every stream."""
    global _beginning
    if _beginning is None:
        sound = np.concatenate([np.zeros(_BEFORE, np.float32), context()])
        state = np.zeros(_STATE, np.float32)
        _, state = _run(_windows(sound, 0, _CONTEXT)[:, None], [_CONTEXT], state)
        _beginning = state, sound[-_BEFORE:]
    return _beginning


def _opened() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY
    with as_file(files("nim4asr.audio") / "silero_vad.onnx") as path:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
