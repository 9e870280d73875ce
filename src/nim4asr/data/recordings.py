"""Recordings read at every pass: for corpora whose features would not fit on a disk."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.random import Generator

from nim4asr.acoustics.frontend import FeatureConfig, features_of
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.audio.samples import Floats
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.corpus import CorpusUtterance
from nim4asr.data.manifest import Utterance
from nim4asr.data.noise import Noise
from nim4asr.data.robustness import RobustnessConfig, vary_samples
from nim4asr.errors import InputError
from nim4asr.phonemes import TABLE, pronounce

# A reading that says less than this, or more, in a second is no transcript of its audio.
SLOWEST, FASTEST = 0.5, 40.0


class Recordings:
    """A corpus of recordings; how many frames each has is taken from the manifest's durations.

    An utterance with an empty text is noise, where nothing is to be written. Absurd utterances are left out
    and listed in ``left_out``, each with its reason: no duration, no pronunciation, too many or too few
    phonemes for their time. Raises ``InputError`` if none is left.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        features: FeatureConfig,
        robustness: RobustnessConfig | None = None,
        noise: Noise | None = None,
    ) -> None:
        self.feature_config = features
        self._robustness, self._noise = robustness or RobustnessConfig(), noise
        self._sources: list[Utterance] = []
        self.utterances: list[CorpusUtterance] = []
        self.left_out: dict[str, str] = {}
        for utterance in utterances:
            self._take(utterance)
        if not self.utterances:
            reasons = "; ".join(f"{i}: {why}" for i, why in list(self.left_out.items())[:3])
            raise InputError(f"none of {len(utterances)} utterances can be trained on ({reasons})")

    def _take(self, utterance: Utterance) -> None:
        try:
            phonemes = tuple(TABLE.encode(pronounce(utterance.text)))
        except ValueError as error:
            self.left_out[utterance.id] = str(error)
            return
        seconds = utterance.duration
        if seconds is None or seconds <= 0:
            self.left_out[utterance.id] = "the manifest gives no duration"
        elif not phonemes and utterance.text.strip():
            self.left_out[utterance.id] = f"{utterance.text!r} has no pronunciation"
        elif phonemes and not SLOWEST <= len(phonemes) / seconds <= FASTEST:
            self.left_out[utterance.id] = f"{len(phonemes)} phonemes in {seconds:g} s"
        else:
            frames = round(seconds * self.feature_config.hz)
            self.utterances.append(
                CorpusUtterance(
                    utterance.id,
                    utterance.text,
                    utterance.language,
                    phonemes,
                    len(self._sources),
                    frames,
                )
            )
            self._sources.append(utterance)

    def samples(self, utterance: CorpusUtterance) -> Floats:
        """The samples (N,) of ``utterance``, 16 kHz. Raises ``InputError`` if they cannot be read, or are
        fewer than they should be.
        """
        return self._sources[utterance.row].samples()

    def features(self, utterance: CorpusUtterance) -> Floats:
        """Its features (T, bins), before normalization. Raises ``InputError`` if they cannot be read."""
        return self._features(utterance, self.samples(utterance))

    def augmented(
        self,
        utterance: CorpusUtterance,
        config: AugmentationConfig,
        noises: Sequence[Floats],
        random: Generator,
    ) -> Floats:
        """Its features (T, bins), the samples varied (``nim4asr.data.robustness``) as the corpus was told;
        ``config`` and ``noises`` are for features that are stored.
        """
        samples = vary_samples(self.samples(utterance), self._robustness, self._noise, random)
        return self._features(utterance, samples)

    @property
    def variation(self) -> Mapping[str, Any]:
        """How the samples are varied, and whether there is noise to do it with."""
        return {**asdict(self._robustness), "has_noise": self._noise is not None}

    def cmvn(self, recordings: int = 500) -> Cmvn:
        """Global statistics over evenly spaced ``recordings``. Raises ``InputError`` if none can be read."""
        total, squares, count = np.zeros(self.feature_config.bins), np.zeros(self.feature_config.bins), 0
        for utterance in self.utterances[:: max(1, len(self.utterances) // recordings)]:
            try:
                features = self.features(utterance)
            except InputError:
                continue
            total += features.sum(axis=0, dtype=np.float64)
            squares += np.square(features, dtype=np.float64).sum(axis=0)
            count += len(features)
        if not count:
            raise InputError("no recording of a corpus can be read; look at the manifest's paths")
        return Cmvn.from_sums(count, total, squares)

    def _features(self, utterance: CorpusUtterance, samples: Floats) -> Floats:
        features = features_of(samples, self.feature_config)
        if not len(features):
            raise InputError(f"{utterance.id}: too short for a frame")
        return features
