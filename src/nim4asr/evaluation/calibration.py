"""What a model's configuration says about its phoneme head, fitted to it: the evidence of hits on hotwords,
and the bound of the guard against sounds that could be anything.

**Evidence** (``nim4asr.hotwords.evidence``): a logistic regression of "the name was said" on what the
evidence weighs, over all matches of a wide search in utterances, with lists of several sizes that hold the
names said and others. In the longest lists two characters are never enough, and there they are left out: they
would be most of the matches.

**Guard** (``DecodingConfig.max_entropy``): of utterances that hold speech, none may be silenced.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nim4asr.audio.samples import Floats
from nim4asr.audio.voice_activity import SpeechSegment, cut_speech
from nim4asr.evaluation.entities import NameList
from nim4asr.evaluation.retrieval import Spoken
from nim4asr.hotwords.building import assemble
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.evidence import weigh
from nim4asr.hotwords.names import Name
from nim4asr.hotwords.pronouncing import pronounce_all
from nim4asr.hotwords.search import SearchConfig, TrieSearch, toneless_costs
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.phonemes.english import dictionary
from nim4asr.progress import ProgressReporter, no_progress
from nim4asr.recognition.guards import sounding_entropy
from nim4asr.recognition.offline import Recognizer
from nim4asr.text.characters import is_han
from nim4asr.text.normalization import tokens

WIDE = SearchConfig(cost_budget=2.0, cost_per_phoneme=0.8, beam_width=256, min_log_odds=-math.inf)
# In lists of more names than these, those of two characters are left out.
SHORT = 500_000
# Of a match nothing but the log posterior of its likeliest path with tones.
_POSTERIOR = EvidenceConfig(gain=0.0, trust=1.0, doubt=0.0, size=0.0)
# English words of fewer letters are in every text.
_SHORTEST_WORD = 4
# Texts of which under this share of the tokens is of a language are not of it.
_SOME = 0.1

Matrix = NDArray[np.float64]
# What must be said of a match for its evidence to grow: gain, trust, doubt, size; the bias may be either.
_SIGNS = np.array([1.0, 1.0, -1.0, -1.0, 0.0])


@dataclass(frozen=True)
class EvidenceFit:
    """Coefficients fitted to ``matches`` with ``said`` different names that were said.

    Losses are negative log likelihoods a match, in nats: ``loss`` with the coefficients, ``loss_before`` with
    those in use before, and ``loss_apart`` of each half of the utterances with coefficients fitted to the
    other half, which tells whether they hold for what they were not fitted to; infinite if only one has
    matches.
    """

    config: EvidenceConfig
    said: int
    matches: int
    loss: float
    loss_before: float
    loss_apart: float


def fit_evidence(
    spoken: Sequence[Spoken],
    names: Iterable[str],
    sizes: Sequence[int],
    used: EvidenceConfig,
    progress: ProgressReporter = no_progress,
) -> EvidenceFit | None:
    """Fit the coefficients to utterances, with lists of ``sizes`` names: those of ``names`` that were said in
    any of them, and as many others as that takes. None if no name matched anything.
    """
    texts = list(dict.fromkeys(names))
    said = _said(spoken, texts)
    wanted = sorted(set().union(*said))
    others = sorted(set(texts) - set(wanted))
    random.Random(0).shuffle(others)
    rows: list[tuple[float, ...]] = []
    for size in progress(sizes, "fitting evidence", len(sizes)):
        chosen = [*wanted, *others[: max(0, size - len(wanted))]]
        pronounced = pronounce_all(("", 0, Name(text)) for text in chosen)
        database = assemble([sounds for _, _, sounds, _ in pronounced])
        rows += _matches(database, spoken, said)
    if not rows:
        return None
    data = np.array(rows)
    features, labels, halves = np.c_[data[:, :4], np.ones(len(data))], data[:, 4], data[:, 5] % 2
    before = np.array([used.gain, used.trust, -used.doubt, -used.size, used.bias])
    coefficients = _signed(features, labels).round(3)
    gain, trust, doubt, list_size, bias = coefficients.tolist()
    apart = [
        float(own.mean()) * loss(features[own], labels[own], _signed(features[~own], labels[~own]))
        for own in (halves == 0, halves == 1)
        if own.any() and not own.all()
    ]
    return EvidenceFit(
        config=EvidenceConfig(gain, trust, abs(doubt), abs(list_size), bias),
        said=len(wanted),
        matches=len(rows),
        loss=loss(features, labels, coefficients),
        loss_before=loss(features, labels, before),
        loss_apart=sum(apart) if len(apart) == 2 else math.inf,
    )


def _signed(features: Matrix, labels: Matrix) -> Matrix:
    """The regression's coefficients, each of the sign that it has in the equation: what would have another
    one, for chance has made it so, is 0.
    """
    used = np.ones(len(_SIGNS), bool)
    while True:
        weights: Matrix = np.zeros(len(_SIGNS))
        weights[used] = regression(features[:, used], labels)
        wrong = weights * _SIGNS < 0
        if not wrong.any():
            return weights
        used &= ~wrong


def names_said(spoken: Sequence[Spoken], names: Sequence[str]) -> int:
    """How many of ``names`` are said in any of the utterances."""
    return len(set().union(*_said(spoken, names)))


def _said(spoken: Sequence[Spoken], names: Sequence[str]) -> list[set[str]]:
    every = NameList(names)
    return [every.said(tokens(utterance.text)) for utterance in spoken]


def dictionary_names(texts: Iterable[str]) -> list[str]:
    """Words and phrases of the dictionaries, of the languages that ``texts`` are in: names to fit evidence
    with where nobody gives others.
    """
    found = [token for text in texts for token in tokens(text)]
    chinese = sum(is_han(token[0]) for token in found)
    names: list[str] = []
    if chinese >= _SOME * len(found):
        from pypinyin.constants import PHRASES_DICT

        names += [phrase for phrase in PHRASES_DICT if len(phrase) > 1 and all(map(is_han, phrase))]
    if len(found) - chinese >= _SOME * len(found):
        names += [word for word in dictionary() if len(word) >= _SHORTEST_WORD and word.isalpha()]
    return names


def _matches(
    database: Database, spoken: Sequence[Spoken], said: Sequence[set[str]]
) -> Iterator[tuple[float, ...]]:
    """Phonemes, log posterior, costs without and with tones, log of the names, whether the name was said, and
    the number of the utterance.
    """
    size = math.log(len(database))
    for number, (utterance, names) in enumerate(zip(spoken, said, strict=True)):
        walk = TrieSearch(database, WIDE)
        walk.feed(toneless_costs(utterance.log_probs))
        found = walk.found
        best: dict[tuple[int, int], tuple[float, ...]] = {}
        for row, pronunciation, toned, posterior in weigh(
            found, utterance.log_probs, database, _POSTERIOR, 1, -math.inf
        ).tolist():
            name = int(database.owner[int(pronunciation)])
            if len(database) > SHORT and len(database.text(name)) < 3:
                continue
            key = (int(row), name)
            if key not in best or posterior > best[key][1]:
                cost, phonemes = found[int(row), 3:].tolist()
                was_said = float(database.text(name) in names)
                best[key] = (phonemes, posterior, cost + toned, size, was_said, number)
        yield from best.values()


def regression(features: Matrix, labels: Matrix, steps: int = 25) -> Matrix:
    """The coefficients of a logistic regression of ``labels`` (N,) on ``features`` (N, K), by Newton's
    method.
    """
    weights: Matrix = np.zeros(features.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        slope = features.T @ (p - labels) + 1e-3 * weights
        curvature = (features * (p * (1 - p))[:, None]).T @ features + 1e-3 * np.eye(len(weights))
        weights = weights - np.linalg.solve(curvature, slope)
    return weights


def loss(features: Matrix, labels: Matrix, weights: Matrix) -> float:
    """The negative log likelihood a row, in nats."""
    odds = features @ weights
    return float(np.mean(np.logaddexp(0, odds) - labels * odds))


@dataclass(frozen=True)
class GuardCheck:
    """Of so many ``utterances`` with speech, ``short`` ones hold nothing but sounds so short that the guard
    looks at them, and it silences ``lost``. ``needed`` is the entropy that it must allow to lose none.
    """

    utterances: int
    short: int
    lost: int
    needed: float

    def bound(self, used: float) -> float:
        """The bound ``used``, or the lowest above it, in hundredths of a nat, that loses none of them."""
        return used if self.needed <= used else math.floor(100 * self.needed + 1) / 100


def check_guard(recognizer: Recognizer, spoken: Iterable[Floats]) -> GuardCheck:
    """What the guard does to utterances (N,) that hold speech, heard whole and, by a model that hears live
    speech in chunks, in those. An utterance is lost if all its sounds are.
    """
    model = recognizer.model
    decoding, chunks = model.config.decoding, model.config.chunks
    ways = (None,) if chunks is None else (None, chunks)
    hearing = [replace(recognizer.config, chunks=way) for way in ways]
    listeners = [Recognizer(model, config) for config in hearing]
    utterances = short = lost = 0
    needed = 0.0
    for samples in spoken:
        segments = list(cut_speech([samples], recognizer.config.voice_activity))
        entropies = [
            least for one in listeners if (least := _least_entropy(one, segments, decoding)) is not None
        ]
        utterances += 1
        if entropies:
            highest = max(entropies)
            short += 1
            lost += decoding.max_entropy is not None and highest > decoding.max_entropy
            needed = max(needed, highest)
    return GuardCheck(utterances, short, lost, needed)


def _least_entropy(
    recognizer: Recognizer, segments: Sequence[SpeechSegment], decoding: DecodingConfig
) -> float | None:
    """The lowest mean entropy of the segments that hold a phoneme, which the guard must allow for any of them
    to get a text; None if one is so long that it is not asked, or none holds any.
    """
    least = None
    for segment in segments:
        frames, entropy = sounding_entropy(recognizer.log_posteriors(segment))
        if frames >= decoding.short_frames:
            return None
        if frames:
            mean = entropy / frames
            least = mean if least is None else min(least, mean)
    return least
