"""Recordings read at every pass: for corpora whose features would not fit on a disk."""

from collections.abc import Sequence

from numpy.random import Generator

from nim4asr.audio.features import FRAMES_PER_SECOND, Floats, log_mel
from nim4asr.audio.reading import read_audio
from nim4asr.data.manifest import Utterance
from nim4asr.data.robustness import Noise, RobustnessConfig, vary_samples
from nim4asr.data.store import Entry
from nim4asr.errors import InputError
from nim4asr.phonemes import TABLE, pronounce

# A reading that says less than this, or more, in a second is no transcript of its audio.
SLOWEST, FASTEST = 0.5, 40.0


class Recordings:
    """A corpus under the interface of a ``FeatureStore``; the batches ask for ``frames`` from the manifest's durations.

    An utterance with an empty text is noise, where nothing is to be written. Absurd utterances are left out and
    listed in ``left_out``, each with its reason: no duration, no pronunciation, too many or too few phonemes for
    their time. Raises ``InputError`` if none is left.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        robustness: RobustnessConfig | None = None,
        noise: Noise | None = None,
    ) -> None:
        self._robustness, self._noise = robustness or RobustnessConfig(), noise
        self._utterances: list[Utterance] = []
        self.entries: list[Entry] = []
        self.left_out: dict[str, str] = {}
        for utterance in utterances:
            self._take(utterance)
        if not self.entries:
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
            frames = round(seconds * FRAMES_PER_SECOND)
            entry = Entry(
                utterance.id, utterance.text, utterance.language, phonemes, len(self._utterances), frames
            )
            self.entries.append(entry)
            self._utterances.append(utterance)

    def samples(self, entry: Entry) -> Floats:
        """The samples (N,) of ``entry``, 16 kHz. Raises ``InputError`` if they cannot be read."""
        return read_audio(self._utterances[entry.start].source())

    def features(self, entry: Entry, random: Generator | None = None) -> Floats:
        """The features (T, 80) of ``entry``, varied if ``random`` is given."""
        samples = self.samples(entry)
        if random is not None:
            samples = vary_samples(samples, self._robustness, self._noise, random)
        features = log_mel(samples)
        if not len(features):
            raise InputError(f"{entry.id}: too short for a frame")
        return features
