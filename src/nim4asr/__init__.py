"""NIM4-ASR: a small, streaming, LLM-based speech recognizer, with guards against hallucinated text.

``nim4asr.transcribe("audio.wav")`` gives a ``Transcript`` by the bundled model, ``nim4asr.stream()`` a
``Stream``, ``nim4asr.align("audio.wav", text)`` an ``Alignment`` of what was said with a given text;
``nim4asr.load("folder or org/name")`` gives a ``Recognizer``, which does all of it by any model.
``HotwordIndex`` finds names by their sound. ``Engine`` runs many streams and recordings on one model.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nim4asr import telemetry
from nim4asr.errors import InputError, OverloadedError

# Before anything imports a library that would report on the user.
telemetry.switch_off()

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from nim4asr.audio.reading import read_audio, stream_audio
    from nim4asr.audio.voice_activity import EndReason, VoiceActivityConfig
    from nim4asr.hotwords.hints import HintConfig, Hit
    from nim4asr.hotwords.index import HotwordIndex
    from nim4asr.hotwords.names import Name
    from nim4asr.model.decoding import DecodingConfig
    from nim4asr.model.shapes import ChunkScheme
    from nim4asr.recognition.alignment import AlignedWord, Alignment, NotFound, Unexpected
    from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
    from nim4asr.recognition.engine import Engine, StreamHandle
    from nim4asr.recognition.events import Event, Failed, Final, Partial, SpeechEnded, SpeechStarted
    from nim4asr.recognition.offline import Recognizer
    from nim4asr.recognition.result import Alternative, Segment, Token, Transcript, Word
    from nim4asr.recognition.streaming import Stream
    from nim4asr.recognition.subtitles import SubtitleConfig
    from nim4asr.runtime.loading import Runtime

    __version__: str

# Where each public name lives; imported when it is first asked for, so that importing the package costs
# nothing.
_HOMES = {
    "audio.reading": ("read_audio", "stream_audio"),
    "audio.voice_activity": ("EndReason", "VoiceActivityConfig"),
    "hotwords.hints": ("HintConfig", "Hit"),
    "hotwords.index": ("HotwordIndex",),
    "hotwords.names": ("Name",),
    "model.decoding": ("DecodingConfig",),
    "model.shapes": ("ChunkScheme",),
    "recognition.alignment": ("AlignedWord", "Alignment", "NotFound", "Unexpected"),
    "recognition.configuration": ("RecognitionConfig", "StreamingConfig"),
    "recognition.engine": ("Engine", "StreamHandle"),
    "recognition.events": ("Event", "Failed", "Final", "Partial", "SpeechEnded", "SpeechStarted"),
    "recognition.offline": ("Recognizer",),
    "recognition.result": ("Alternative", "Segment", "Token", "Transcript", "Word"),
    "recognition.streaming": ("Stream",),
    "recognition.subtitles": ("SubtitleConfig",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AlignedWord",
    "Alignment",
    "Alternative",
    "ChunkScheme",
    "DecodingConfig",
    "EndReason",
    "Engine",
    "Event",
    "Failed",
    "Final",
    "HintConfig",
    "Hit",
    "HotwordIndex",
    "InputError",
    "Name",
    "NotFound",
    "OverloadedError",
    "Partial",
    "RecognitionConfig",
    "Recognizer",
    "Segment",
    "SpeechEnded",
    "SpeechStarted",
    "Stream",
    "StreamHandle",
    "StreamingConfig",
    "SubtitleConfig",
    "Token",
    "Transcript",
    "Unexpected",
    "VoiceActivityConfig",
    "Word",
    "__version__",
    "align",
    "load",
    "read_audio",
    "stream",
    "stream_audio",
    "transcribe",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nim4asr")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(
    model: "str | Path | None" = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
    config: "RecognitionConfig | None" = None,
    runtime: "Runtime | None" = None,
    threads: int | None = None,
) -> "Recognizer":
    """The model in a folder or on the hub, ready to listen; the bundled nano by default.

    ``runtime`` is "onnx" or "torch", by default onnxruntime for a model that comes with its graphs, as nano
    does. ``device`` ("auto" is a GPU where there is one) and ``dtype``, that of the weights in memory, are
    torch's. ``threads`` are those of the processor, by default one for a small model. ``config`` is for
    recordings. Raises ``InputError`` if there is no such model or it cannot transcribe.
    """
    from nim4asr.recognition.offline import Recognizer

    return Recognizer.load(model, device=device, dtype=dtype, config=config, runtime=runtime, threads=threads)


def transcribe(
    audio: "str | Path | bytes | NDArray[np.generic]",
    *,
    sample_rate: int | None = None,
    hotwords: "HotwordIndex | None" = None,
    hints: Sequence[str] = (),
) -> "Transcript":
    """What is said in an audio file, given by path or bytes, or in samples at ``sample_rate`` Hz, by the
    bundled model.

    ``hotwords`` and ``hints`` are as in ``Recognizer.transcribe``. Raises ``InputError`` if it cannot be
    read.
    """
    return _bundled().transcribe(audio, sample_rate=sample_rate, hotwords=hotwords, hints=hints)


def align(
    audio: "str | Path | bytes | NDArray[np.generic]", text: str, *, sample_rate: int | None = None
) -> "Alignment":
    """When each word of ``text`` is said in an audio that it is the text of, by the bundled model.

    ``audio`` is as in ``transcribe``; see ``Recognizer.align``.
    """
    return _bundled().align(audio, text, sample_rate=sample_rate)


def stream(
    config: "StreamingConfig | None" = None,
    *,
    sample_rate: int = 16_000,
    channels: int = 1,
    hotwords: "HotwordIndex | None" = None,
    hints: Sequence[str] = (),
) -> "Stream":
    """A live stream of samples at ``sample_rate`` Hz, heard by the bundled model.

    ``hotwords`` and ``hints`` are as in ``Recognizer.transcribe``. Raises ``InputError`` for a rate that no
    speech has.
    """
    return _bundled().stream(
        config, sample_rate=sample_rate, channels=channels, hotwords=hotwords, hints=hints
    )


@cache
def _bundled() -> "Recognizer":
    return load()
