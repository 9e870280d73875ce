"""Noise for augmentation: recordings and babble out of one archive, and how much of it is mixed in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.random import Generator

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from nim4asr.data.manifest import member_names, read_member
from nim4asr.errors import InputError

# The recordings of single talkers lie in this folder of an archive; everything else there is noise as it is.
BABBLE = "babble_sources"
# Babble needs so many talkers to choose from.
_MIN_TALKERS = 8


@dataclass(frozen=True)
class NoiseConfig:
    """The paper's noise: babble, vehicles or music behind a share of the samples, from before the speech
    on.
    """

    share: float = 0.2
    """The share of the samples with noise."""
    snr_db: tuple[float, float] = (10.0, 5.0)
    """Mean and standard deviation of the signal-to-noise ratio, a normal distribution."""
    max_silence_s: float = 1.0
    """Silence of this length times Beta(1, 3) is put before and after the utterance first."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.max_silence_s < 0:
            raise ValueError("the share of noise lies from 0 to 1, and silence is not negative")

    def draw_silences(self, random: Generator) -> tuple[float, float]:
        """The seconds of silence before and after one utterance."""
        before, after = random.beta(1, 3, size=2) * self.max_silence_s
        return float(before), float(after)

    def draw_snr_db(self, random: Generator) -> float:
        """The signal-to-noise ratio of one utterance."""
        return float(random.normal(*self.snr_db))


class Noise(Protocol):
    """Where noise comes from."""

    def draw(self, samples: int, random: Generator) -> Floats:
        """Some noise (``samples``,), 16 kHz."""
        ...


class NoiseArchive:
    """The recordings in an uncompressed tar, and babble of three to eight of its talkers.

    Draws babble for ``babble_share`` of the time if there are eight talkers. Recordings whose names begin
    with one of ``left_out`` are passed over. Raises ``InputError`` if the archive cannot be read or holds
    nothing.
    """

    def __init__(self, tar: str, babble_share: float = 0.4, left_out: Sequence[str] = ()) -> None:
        names = sorted(name for name in member_names(tar) if not name.startswith(tuple(left_out)))
        self._tar, self._babble_share = tar, babble_share
        self._talkers = [name for name in names if name.startswith(BABBLE)]
        self._sounds = [name for name in names if not name.startswith(BABBLE)]
        if not names:
            raise InputError(f"{tar}: the archive holds no noise")

    def draw(self, samples: int, random: Generator) -> Floats:
        """Some noise (``samples``,), repeated if the recording is shorter. Recordings that cannot be read are
        silence.
        """
        if self._sounds and not (self.has_babble and random.random() < self._babble_share):
            return self._excerpt(self._sounds, samples, random)
        return self.babble(samples, random)

    @property
    def has_babble(self) -> bool:
        """Whether there are talkers enough for babble."""
        return len(self._talkers) >= _MIN_TALKERS

    def babble(self, samples: int, random: Generator) -> Floats:
        """Three to eight talkers at once (``samples``,)."""
        talkers = int(random.integers(3, 9))
        babble = np.zeros(samples, np.float32)
        for _ in range(talkers):
            babble += self._excerpt(self._talkers or self._sounds, samples, random)
        return babble / np.float32(talkers)

    def recordings(self, max_samples: int) -> Iterator[Floats]:
        """The beginning of every recording but the talkers', without those that cannot be read."""
        for name in self._sounds:
            try:
                yield read_audio(read_member(self._tar, name))[:max_samples]
            except InputError:
                continue

    def _excerpt(self, names: Sequence[str], samples: int, random: Generator) -> Floats:
        name, place = names[int(random.integers(len(names)))], random.random()
        try:
            sound = read_audio(read_member(self._tar, name))
        except InputError:
            return np.zeros(samples, np.float32)
        start = int(place * len(sound))
        return np.resize(np.roll(sound, -start), samples)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Everything in the archive."""
        return (*self._sounds, *self._talkers)
