"""A model ready to listen: whole recordings to transcripts, and live streams."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.level import Gain, LevelMeter, amplified, automatic_gain, checked_gain, no_speech
from nim4asr.audio.reading import (
    Source,
    as_array,
    channels_of,
    from_array,
    kept,
    of_array,
    stream_audio,
)
from nim4asr.audio.samples import SAMPLE_RATE, Channels, Floats
from nim4asr.audio.voice_activity import SpeechSegment, cut_speech
from nim4asr.errors import InputError
from nim4asr.recognition.alignment import Alignment, align
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig, check_beams
from nim4asr.recognition.engine import Engine
from nim4asr.recognition.hinting import HintPolicy, as_hints
from nim4asr.recognition.recording import recognized
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.recognition.streaming import Stream
from nim4asr.runtime.loading import Runtime, load
from nim4asr.runtime.network import Model

if TYPE_CHECKING:
    from nim4asr.hotwords.index import HotwordIndex

# A recording below this level is quiet.
_QUIET_DB = -40.0
# A file's path or bytes, or samples.
Sound = Source | bytearray | memoryview | NDArray[np.generic]


class Recognizer:
    """A model ready to listen.

    ``Recognizer.load("folder").transcribe("a.wav")`` gives a ``Transcript``. Threads may share a recognizer:
    each call has an engine of its own. A ``Stream`` or an iteration over segments is for one caller at a
    time.
    """

    def __init__(self, model: Model, config: RecognitionConfig | None = None) -> None:
        self.model = model
        self.config = config or RecognitionConfig()
        if self.config.nbest:
            check_beams(self.config.nbest, self.config.decoding or model.config.decoding)

    @classmethod
    def load(
        cls,
        place: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: str = "float32",
        config: RecognitionConfig | None = None,
        runtime: Runtime | None = None,
        threads: int | None = None,
    ) -> "Recognizer":
        """Of the model at ``place``, a folder or a hub name; by default the bundled nano.

        ``runtime``, ``device``, ``dtype`` and ``threads`` are those of ``nim4asr.runtime.loading.load``.
        """
        return cls(load(place, runtime, device, dtype, threads), config)

    def transcribe(
        self,
        source: Sound,
        *,
        sample_rate: int | None = None,
        name: str = "",
        hotwords: "HotwordIndex | None" = None,
        hints: Sequence[str] = (),
        gain: Gain = 0.0,
        channels: Channels = "mixed",
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> Transcript:
        """What is said in a file, given by path or bytes, or in samples (N,) or (N, channels) at
        ``sample_rate`` Hz.

        ``name`` is the transcript's, by default the path. ``hotwords`` are listened for, and those that were
        heard become hints; ``hints`` are names, at most 20, that it may hold. ``gain`` in dB makes quiet
        speech louder; ``"auto"`` reads the recording twice. ``channels`` are ``"mixed"``; or ``"apart"``,
        each listened to for itself, as of a telephone call with a speaker a channel; or the number, from 1,
        of the only one that is listened to. ``progress`` is told how many seconds have been
        read. Raises ``InputError`` if it cannot be read, and for samples without a rate; nothing is returned
        by halves.
        """
        began = time.perf_counter()
        warnings: list[str] = []
        if not name and isinstance(source, str | Path):
            name = str(source)
        source, chosen = chosen_channels(source, channels, name, warnings.append)
        segments: list[Segment] = []
        silences: list[str] = []
        heard_s = seconds = 0.0
        for channel in chosen:

            def told(now_s: float, before_s: float = heard_s) -> None:
                progress((before_s + now_s) / len(chosen))

            # The file is the same, and so is what is wrong with it.
            warn = warnings.append if channel == chosen[0] else _ignored
            called = ", ".join(filter(None, [name, f"channel {channel}" if channel else ""]))
            blocks = _Blocks(source, sample_rate, warn, gain, told, called, channel)
            for segment in self._recognized(blocks, hotwords, hints):
                segments.append(replace(segment, channel=channel))
            heard_s, seconds = heard_s + blocks.seconds, max(seconds, blocks.seconds)
            silences += [blocks.silence] if blocks.silence else []
        segments.sort(key=lambda segment: segment.start)
        elapsed = time.perf_counter() - began
        # That one speaker of several was silent is no news.
        silence = "; ".join(silences) if len(silences) == len(chosen) else ""
        return Transcript(name, seconds, tuple(segments), elapsed, tuple(warnings), silence)

    def iter_segments(
        self,
        source: Sound,
        *,
        sample_rate: int | None = None,
        hotwords: "HotwordIndex | None" = None,
        hints: Sequence[str] = (),
        gain: Gain = 0.0,
        warn: Callable[[str], None] = lambda warning: None,
    ) -> Iterator[Segment]:
        """The segments of a recording, each as soon as it is recognized; as ``transcribe``, for long ones.

        ``warn`` is told of an audio that is not whole, and of one in which nothing was said. Raises
        ``InputError`` where it cannot be read, which may be after some of its segments.
        """
        blocks = _Blocks(source, sample_rate, warn, gain)
        found = self._recognized(blocks, hotwords, hints)

        def told() -> Iterator[Segment]:
            yield from found
            if blocks.silence:
                warn(blocks.silence)

        return told()

    def stream(
        self,
        config: StreamingConfig | None = None,
        *,
        sample_rate: int = SAMPLE_RATE,
        channels: int = 1,
        hints: Sequence[str] = (),
        hotwords: "HotwordIndex | None" = None,
    ) -> Stream:
        """A live stream of samples at ``sample_rate`` Hz, with ``hints`` and ``hotwords`` as in
        ``transcribe``.

        Raises ``InputError`` for a rate that no speech has.
        """
        return Stream(
            self.model, config, sample_rate=sample_rate, channels=channels, hints=hints, hotwords=hotwords
        )

    def align(
        self,
        source: Sound,
        text: str,
        *,
        sample_rate: int | None = None,
        name: str = "",
        gain: Gain = 0.0,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> Alignment:
        """When each word of ``text``, which is what is said in a file or in samples, is said.

        Words that are not said, and speech that is not in the text, are told in the result. The other
        arguments are those of ``transcribe``; the language model is not asked. Raises ``InputError`` if the
        sound cannot be read, for a text without a word whose sound is known, and if none of it is said.
        """
        began = time.perf_counter()
        warnings: list[str] = []
        blocks = _Blocks(source, sample_rate, warnings.append, gain, progress, name)
        if not name and isinstance(source, str | Path):
            name = str(source)
        found = align(
            cut_speech(blocks, self.config.voice_activity),
            self.log_posteriors,
            text,
            self.model.frontend.clock.frame_s,
            lambda: blocks.seconds,
            name,
        )
        return replace(found, warnings=tuple(warnings), computing_s=time.perf_counter() - began)

    def log_posteriors(self, segment: SpeechSegment) -> Floats:
        """What the phoneme head heard in a segment: log posteriors (T, phonemes), a row a frame of the
        encoder.
        """
        features = self.model.frontend(segment.samples)
        return self.model.network.encode([features], self.config.chunks)[0].log_probs

    def recognize(
        self, segments: Sequence[SpeechSegment], hinting: HintPolicy | None = None
    ) -> list[Segment]:
        """What is said in each segment of speech."""
        return list(recognized(Engine(self.model), segments, self.config, hinting or HintPolicy()))

    def _recognized(
        self, blocks: "_Blocks", hotwords: "HotwordIndex | None", hints: Sequence[str]
    ) -> Iterator[Segment]:
        hinting = HintPolicy(hotwords, as_hints(hints), self.config.hints)
        segments = cut_speech(blocks, self.config.voice_activity)

        def told(found: Iterator[Segment]) -> Iterator[Segment]:
            said = voiced = False
            for segment in found:
                said, voiced = said or bool(segment.text), True
                yield segment
            if not said:
                blocks.silence = blocks.silence_told(voiced)

        return told(recognized(Engine(self.model), segments, self.config, hinting))


def _as_source(source: Sound) -> Sound:
    """``source`` with all kinds of bytes as ``bytes``."""
    if isinstance(source, bytearray) or (isinstance(source, memoryview) and source.itemsize == 1):
        return bytes(source)
    return source


def chosen_channels(
    source: Sound,
    wanted: Channels,
    name: str,
    warn: Callable[[str], None],
    check: Callable[[float], None] = lambda seconds: None,
) -> tuple[Sound, Sequence[int | None]]:
    """What may be read for each channel that is to be listened to, and these; None is the mean of all.
    ``check`` is told how many seconds were read to find out, and may raise.

    Raises ``InputError`` for a channel that there is none of.
    """
    if wanted == "mixed":
        return source, [None]
    if wanted != "apart" and (not isinstance(wanted, int) or wanted < 1):
        raise InputError(f"channels are mixed, apart, or a number from 1, not {wanted!r}")
    source = _as_source(source)
    if isinstance(source, str | Path | bytes):
        source = kept(source)
        there = channels_of(source, check)
    else:
        there = of_array(as_array(source))
    called = f"{name}: " if name else ""
    if wanted == "apart":
        if there.count > 1 and there.alike:
            warn(f"{called}all {there.count} channels hold the same sound, so it was transcribed once")
            return source, [None]
        return source, list(range(1, there.count + 1))
    if wanted > there.count:
        has = "one channel" if there.count == 1 else f"{there.count} channels"
        raise InputError(f"{called}there is no channel {wanted}; the recording has {has}")
    return source, [wanted]


def _ignored(warning: str) -> None:
    """What was told before."""


class _Blocks:
    """Blocks of 16 kHz samples, made louder, counted and measured as they pass."""

    def __init__(
        self,
        source: Sound,
        sample_rate: int | None,
        warn: Callable[[str], None],
        gain: Gain = 0.0,
        progress: Callable[[float], None] = lambda seconds: None,
        name: str = "",
        channel: int | None = None,
    ) -> None:
        self._blocks: Iterable[Floats]
        self._progress, self._gain = progress, checked_gain(gain)
        self._name = name or (str(source) if isinstance(source, str | Path) else "")
        self._meter, self._raised_db = LevelMeter(), 0.0
        source = _as_source(source)
        if isinstance(source, str | Path | bytes):
            if sample_rate is not None:
                raise InputError("a file says its own sample rate; sample_rate= is for arrays of samples")
            if gain == "auto":
                source = kept(source)
                self._raised_db = automatic_gain(stream_audio(source, channel=channel))
            self._blocks = stream_audio(source, warn, channel=channel)
        elif sample_rate is None:
            raise InputError("give the rate of the samples in Hz, as sample_rate=16_000")
        else:
            samples = as_array(source)
            if channel is not None and samples.ndim == 2:
                samples = samples[:, channel - 1]
            self._blocks = [from_array(samples, sample_rate)]
            if gain == "auto":
                self._raised_db = automatic_gain(self._blocks)
        if gain != "auto":
            self._raised_db = gain
        self._samples = 0
        # Once all is recognized, what is told if nothing was said.
        self.silence = ""

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE

    def __iter__(self) -> Iterator[Floats]:
        for block in amplified(self._measured(), self._raised_db):
            yield block
            self._progress(self.seconds)

    def _measured(self) -> Iterator[Floats]:
        for block in self._blocks:
            self._samples += len(block)
            self._meter.add(block)
            yield block

    def silence_told(self, voiced: bool) -> str:
        """That nothing was said, with the level of the sound as it came; ``voiced`` if there was what may be
        speech, without a word in it.
        """
        level = self._meter.level
        help = [] if voiced else ["a lower VAD threshold"]
        if level < _QUIET_DB and not self._raised_db:
            help.insert(0, "automatic gain")
        name = f"{self._name}: " if self._name else ""
        return f"{name}{no_speech(level, help, self._raised_db)}"
