"""From corpora and texts to feature stores with phoneme labels."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from zipfile import BadZipFile

import numpy as np

from nim4asr.acoustics.frontend import FeatureConfig, features_of
from nim4asr.acoustics.kaldi import KaldiFeatures
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.data.corpus import LabeledUtterance
from nim4asr.data.manifest import Utterance
from nim4asr.data.noise import NoiseArchive
from nim4asr.data.recordings import FASTEST, SLOWEST
from nim4asr.data.store import LeftOut, build_store
from nim4asr.data.synthesis.programs import Programs
from nim4asr.errors import InputError
from nim4asr.files import atomic_file
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.progress import ProgressReporter, no_progress


def prepare_speech(
    utterances: Sequence[Utterance],
    folder: Path,
    features: FeatureConfig | None = None,
    longest: float = 20.0,
    name: str = "utterances",
    progress: ProgressReporter = no_progress,
) -> int:
    """Store ``utterances``, as Kaldi's log-Mel unless ``features`` are others, leaving out what cannot be
    read, said, or is over ``longest`` seconds.

    Clips that are damaged, or shorter than their manifest says, are left out too: their texts are of more
    than is there.
    """
    return build_store(
        folder,
        utterances,
        _Recorded(longest),
        features or KaldiFeatures(),
        key=made_of,
        what=f"reading {name}",
        total=len(utterances),
        progress=progress,
    )


def prepare_synthetic(
    texts: Sequence[tuple[str, str]],
    folder: Path,
    features: FeatureConfig,
    seed: int,
    longest: float = 12.0,
    progress: ProgressReporter = no_progress,
) -> int:
    """Store ``texts``, (text, language) each, said by a voice drawn for each."""
    spoken = [_Spoken(i, text, language, seed) for i, (text, language) in enumerate(texts)]
    return build_store(
        folder,
        spoken,
        _Synthetic(longest),
        features,
        key=repr,
        what="synthesizing",
        total=len(spoken),
        progress=progress,
    )


def made_of(utterance: Utterance) -> str:
    """What a stored utterance was made of, wherever its files lie now."""
    where = (Path(utterance.audio).name, utterance.tar and Path(utterance.tar).name)
    return repr((utterance.id, utterance.text, utterance.language, utterance.duration, where))


def read_texts(path: Path) -> list[str]:
    """The lines of a text file, gzipped or not; raises ``InputError`` if it cannot be read."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such text file") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the texts cannot be read ({error})") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


@dataclass(frozen=True)
class _Recorded:
    longest: float

    def __call__(self, utterance: Utterance) -> tuple[LabeledUtterance, Floats] | LeftOut:
        try:
            phonemes = tuple(TABLE.encode(pronounce(utterance.text)))
            samples = utterance.samples()
        except (InputError, ValueError) as error:
            return LeftOut(utterance.id, str(error))
        if problem := _problem(phonemes, samples, self.longest):
            return LeftOut(utterance.id, problem)
        return LabeledUtterance(utterance.id, utterance.text, utterance.language, phonemes), samples


@dataclass(frozen=True)
class _Spoken:
    number: int
    text: str
    language: str
    seed: int


@dataclass(frozen=True)
class _Synthetic:
    longest: float

    def __call__(self, spoken: _Spoken) -> tuple[LabeledUtterance, Floats] | LeftOut:
        name = f"synthetic-{spoken.seed}-{spoken.number}"
        try:
            phonemes = tuple(TABLE.encode(pronounce(spoken.text)))
            random = Random(f"{spoken.seed}/{spoken.number}")
            _, samples = Programs().say(spoken.text, spoken.language, random)
        except (InputError, ValueError) as error:
            return LeftOut(name, str(error))
        if problem := _problem(phonemes, samples, self.longest):
            return LeftOut(name, problem)
        return LabeledUtterance(name, spoken.text, spoken.language, phonemes), samples


def _problem(phonemes: Sequence[int], samples: Floats, longest: float) -> str | None:
    """Why an utterance cannot be trained on, if it cannot."""
    seconds = len(samples) / SAMPLE_RATE
    if not phonemes:
        return "the text has no pronunciation"
    if seconds > longest:
        return f"{seconds:.1f} s long; the longest are {longest:g} s"
    if not SLOWEST <= len(phonemes) / max(seconds, 1e-3) <= FASTEST:
        return f"{len(phonemes)} phonemes in {seconds:.2f} s"
    return None


def prepare_noises(
    tar: Path,
    folder: Path,
    features: FeatureConfig,
    seed: int = 0,
    babbles: int = 60,
    left_out: Sequence[str] = (),
) -> list[Floats]:
    """``features`` (N, bins) of noises, up to 20 s each: the recordings in ``tar``, and ``babbles`` of its
    talkers.

    Recordings whose names begin with one of ``left_out`` are passed over. Kept in ``folder``, until another
    archive is given or another choice of it.
    """
    kept = folder / f"noises-{features.kind}-{features.bins}.npz"
    source = json.dumps([tar.name, tar.stat().st_size if tar.exists() else None, seed, babbles, *left_out])
    found = _kept_noises(kept)
    if found is None or (tar.exists() and found[0] != source):
        archive, longest = NoiseArchive(str(tar), left_out=left_out), 20 * SAMPLE_RATE
        sounds = list(archive.recordings(longest))
        if archive.has_babble:
            random = np.random.default_rng(seed)
            sounds += [archive.babble(longest, random) for _ in range(babbles)]
        noises = [features_of(sound, features) for sound in sounds if len(sound) > SAMPLE_RATE]
        with atomic_file(kept) as file:
            np.savez(file, np.array(source), *noises)
        found = _kept_noises(kept)
        assert found is not None
    return found[1]


def _kept_noises(kept: Path) -> tuple[str, list[Floats]] | None:
    """What noises that are kept were made of, nothing if that is not known, and the noises; None if there are
    none, or if they are damaged.
    """
    try:
        with kept.open("rb") as file, np.load(file) as arrays:
            read = [arrays[name] for name in arrays.files]
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error):
        return None
    told = [str(array) for array in read if array.dtype.kind == "U"]
    return told[0] if told else "", [array for array in read if array.dtype.kind == "f"]
