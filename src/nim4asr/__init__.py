"""NIM4-ASR: an LLM-based speech recognizer that is small, streams, and does not hallucinate.

``nim4asr.load("folder or org/name")`` gives a ``Recognizer``, the bundled model if nothing is named;
``nim4asr.transcribe("audio.wav")`` a ``Transcript`` by the bundled model, ``nim4asr.stream()`` a ``Stream`` by it.
``HotwordIndex`` finds names by their sound.
"""

from functools import cache
from typing import TYPE_CHECKING

from nim4asr.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.recognition.configuration import StreamingConfig
    from nim4asr.recognition.offline import Recognizer
    from nim4asr.recognition.result import Transcript
    from nim4asr.recognition.streaming import Stream
    from nim4asr.runtime.loading import Runtime

__all__ = ["HotwordIndex", "InputError", "load", "stream", "transcribe"]


def __getattr__(name: str) -> object:
    # Its search is compiled code, whose compiler takes its time to import.
    if name == "HotwordIndex":
        from nim4asr.hotwords.index import HotwordIndex

        return HotwordIndex
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    model: "str | Path | None" = None,
    device: str = "cpu",
    dtype: str = "float32",
    runtime: "Runtime | None" = None,
) -> "Recognizer":
    """The model in a folder or on the hub, ready to listen; the bundled nano by default.

    ``runtime`` is "onnx" or "torch", by default onnxruntime for a model that comes with its graphs, as nano does.
    ``device`` and ``dtype``, that of the weights in memory, are torch's.
    Raises ``InputError`` if there is no such model or it cannot transcribe.
    """
    from nim4asr.recognition.offline import Recognizer

    return Recognizer.load(model, device, dtype, runtime=runtime)


def transcribe(audio: "str | Path | bytes") -> "Transcript":
    """What is said in an audio file, given by its path or its bytes, by the bundled model.

    Raises ``InputError`` if it cannot be read.
    """
    return _bundled().transcribe(audio)


def stream(config: "StreamingConfig | None" = None, rate: int = 16_000, channels: int = 1) -> "Stream":
    """A live stream of samples at ``rate`` Hz, heard by the bundled model.

    Raises ``InputError`` for a rate that no speech has.
    """
    return _bundled().stream(config, rate, channels)


@cache
def _bundled() -> "Recognizer":
    return load()
