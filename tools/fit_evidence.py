"""Fit the coefficients of ``nim4asr.hotwords.evidence``: python tools/fit_evidence.py NAMES MANIFEST

A logistic regression of "the name was said" on what the evidence weighs, over all matches of a wide search in
the first training utterances of MANIFEST, with lists of several sizes that hold the names said and others of
NAMES. In the longest lists two characters are never enough, and there they are left out: they would be most
of the matches. Prints the coefficients and the negative log likelihood a match, with them and with those in
use.
"""

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from nim4asr.audio.reading import read_audio
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.data.manifest import read_manifest
from nim4asr.data.preparation import read_texts
from nim4asr.evaluation.entities import NameList
from nim4asr.evaluation.retrieval import Spoken
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.evidence import weigh
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import pronounce_all
from nim4asr.hotwords.search import SearchConfig, TrieSearch, toneless_costs
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.recognition.offline import Recognizer
from nim4asr.text.characters import is_han
from nim4asr.text.normalization import tokens

WIDE = SearchConfig(cost_budget=2.0, cost_per_phoneme=0.8, beam_width=256, min_log_odds=-math.inf)
# In lists of more names than these, those of two characters are left out.
SHORT = 500_000
# Of a match nothing but the log posterior of its likeliest path with tones.
POSTERIOR = EvidenceConfig(gain=0.0, trust=1.0, doubt=0.0, size=0.0)


def main() -> None:
    options = arguments()
    texts = [
        fromkey
        for fromkey in dict.fromkeys(read_texts(options.names))
        if len(fromkey) > 1 and all(map(is_han, fromkey))
    ]
    train = [utterance for utterance in read_manifest(options.manifest) if utterance.split != "dev"][
        : options.limit
    ]
    recognizer = Recognizer.load()
    spoken = [
        Spoken(utterance.text, recognizer.log_posteriors(SpeechSegment(0.0, read_audio(utterance.source()))))
        for utterance in train
    ]
    every = NameList(texts)
    said = [every.said(tokens(utterance.text)) for utterance in spoken]
    wanted = sorted(set().union(*said))
    others = sorted(set(texts) - set(wanted))
    random.Random(0).shuffle(others)
    rows: list[tuple[float, ...]] = []
    for size in options.sizes:
        names = [*wanted, *others[: max(0, size - len(wanted))]]
        pronounced = pronounce_all(("", 0, Name(text)) for text in names)
        database = assemble([sounds for _, _, sounds, _ in pronounced])
        rows += matches(database, spoken, said)
        print(f"{len(names)} names, {len(rows)} matches", flush=True)
    data = np.array(rows)
    features = np.c_[data[:, :4], np.ones(len(data))]
    coefficients = newton(features, data[:, 4])
    used = recognizer.model.config.evidence
    in_use = np.array([used.gain, used.trust, -used.doubt, -used.size, used.bias])
    for name, values in (("fitted", coefficients), (f"in use {astuple(used)}", in_use)):
        print(name, values.round(3).tolist(), f"{loss(features, data[:, 4], values):.4f} nats a match")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--limit", type=int, default=500, help="utterances (default: 500)")
    return parser.parse_args()


def matches(
    database: Database, spoken: Sequence[Spoken], said: Sequence[set[str]]
) -> Iterator[tuple[float, ...]]:
    """Phonemes, log posterior, costs without and with tones, log of the names, and whether the name was
    said.
    """
    size = math.log(len(database))
    for utterance, names in zip(spoken, said, strict=True):
        walk = TrieSearch(database, WIDE)
        walk.feed(toneless_costs(utterance.log_probs))
        found = walk.found
        best: dict[tuple[int, int], tuple[float, ...]] = {}
        for row, pronunciation, toned, posterior in weigh(
            found, utterance.log_probs, database, POSTERIOR, 1, -math.inf
        ).tolist():
            name = int(database.owner[int(pronunciation)])
            if len(database) > SHORT and len(database.text(name)) < 3:
                continue
            key = (int(row), name)
            if key not in best or posterior > best[key][1]:
                cost, phonemes = found[int(row), 3:].tolist()
                was_said = float(database.text(name) in names)
                best[key] = (phonemes, posterior, cost + toned, size, was_said)
        yield from best.values()


def newton(features: np.ndarray, labels: np.ndarray, steps: int = 25) -> np.ndarray:
    weights = np.zeros(features.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        slope = features.T @ (p - labels) + 1e-3 * weights
        curvature = (features * (p * (1 - p))[:, None]).T @ features + 1e-3 * np.eye(len(weights))
        weights = weights - np.linalg.solve(curvature, slope)
    return weights


def loss(features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    odds = features @ weights
    return float(np.mean(np.logaddexp(0, odds) - labels * odds))


if __name__ == "__main__":
    main()
