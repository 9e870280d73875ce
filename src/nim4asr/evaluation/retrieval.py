"""How well and how fast names are found in speech, without a language model."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.evaluation.entities import NameList
from nim4asr.hotwords.hints import HintConfig, Hit, choose
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.search import SearchConfig, certain
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.text.normalization import tokens

# Times are in frames; no figure here asks for seconds.
_FRAME_S = 1.0
# Evidence at which precision and recall are told; 0 is where hits become hints.
LEAST = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Spoken:
    """What was said and the phoneme head's log posteriors (T, phonemes) of it."""

    text: str
    log_probs: NDArray[np.float32]


def retrieval(index: HotwordIndex, spoken: Sequence[Spoken], names: NameList | None = None) -> dict[str, Any]:
    """Figures of the search over utterances: its time, and hints' precision and recall by their least
    evidence.

    ``near_paths`` is the search as configured; ``best_path`` finds exact matches of the greedy path alone,
    judged by the same rule, and ``best_path_all`` takes every one of them as a hint, as the paper does;
    ``perfect_phonemes`` is what a head without errors would give, and ``perfect_phonemes_found`` the share of
    names said that are then hits at all, whether worth a hint or not. Names inside longer ones said at the
    same place do not count as said.
    """
    names = names or NameList(index.texts())
    said = [names.said(tokens(utterance.text)) for utterance in spoken]
    exact = index.over(replace(index.config, cost_budget=0.0, cost_per_phoneme=0.0))
    everything = index.over(SearchConfig(cost_budget=0.0, cost_per_phoneme=0.0, min_log_odds=-math.inf))
    near, taken = _search(index, [utterance.log_probs for utterance in spoken])
    best, _ = _search(exact, [utterance.log_probs for utterance in spoken])
    every, _ = _search(everything, [utterance.log_probs for utterance in spoken])
    sounds = [_perfect(utterance.text) for utterance in spoken]
    sure, _ = _search(index, [sound for sound in sounds if sound is not None])
    found = [
        (len(names & {hit.text for hit in _certain_hits(index, utterance.text)}), len(names))
        for names, utterance in zip(said, spoken, strict=True)
    ]
    sure_said = [names for names, sound in zip(said, sounds, strict=True) if sound is not None]
    return {
        "names": len(index),
        "utterances": len(spoken),
        "names_said": sum(map(len, said)),
        "search_milliseconds": {f"p{q}": round(float(np.percentile(taken, q)), 3) for q in (50, 90, 99)}
        if taken
        else None,
        "near_paths": [_row(near, said, least) for least in LEAST],
        "best_path": [_row(best, said, least) for least in LEAST],
        "best_path_all": _row(every, said, -math.inf),
        "perfect_phonemes": _row(sure, sure_said, 0.0),
        "perfect_phonemes_found": round(sum(a for a, _ in found) / max(1, sum(b for _, b in found)), 4),
    }


def _search(index: HotwordIndex, heard: Sequence[NDArray[np.float32]]) -> tuple[list[list[Hit]], list[float]]:
    """Hits of each utterance, and the milliseconds they took."""
    hits, taken = [], []
    if heard:
        # The compiler's time is not the search's.
        index.search(heard[0], _FRAME_S)
    for log_probs in heard:
        began = time.perf_counter()
        hits.append(index.search(log_probs, _FRAME_S))
        taken.append(1000 * (time.perf_counter() - began))
    return hits, taken


def _perfect(text: str) -> NDArray[np.float32] | None:
    try:
        return certain(TABLE.encode(pronounce(text)))
    except ValueError:
        return None


def _certain_hits(index: HotwordIndex, text: str) -> list[Hit]:
    try:
        return index.search_phonemes(TABLE.encode(pronounce(text)))
    except ValueError:
        return []


def _row(
    hits: Sequence[Sequence[Hit]], said: Sequence[set[str]], least: float
) -> dict[str, float | int | None]:
    given = [
        {hit.text for hit in choose(found, HintConfig(max_hints=1000, min_log_odds=least))} for found in hits
    ]
    right = sum(len(a & b) for a, b in zip(given, said, strict=True))
    hints, wanted = sum(map(len, given)), sum(map(len, said))
    return {
        "least": None if math.isinf(least) else least,
        "hints": hints,
        "precision": round(right / hints, 4) if hints else None,
        "recall": round(right / wanted, 4) if wanted else None,
    }
