"""Is one model better than another, or is it chance? Paired bootstrap over the utterances that both have
heard.

The difference of two error rates over the same utterances,

    d = sum_i e_i / sum_i n_i  -  sum_i e'_i / sum_i n'_i

with e errors and n tokens of the reference, is computed again for many samples of the utterances, drawn with
replacement and the same for both (Bisani and Ney 2004, doi 10.1109/ICASSP.2004.1326009). The interval holds
95 % of them; where it holds 0, there is no difference to speak of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.data.manifest import unique
from nim4asr.errors import InputError
from nim4asr.files import parse_json, read_text

# Utterances to resample. Fewer give no interval worth the name.
_LEAST = 2
_Rates = Mapping[str, tuple[str, bool | None]]
_RATES: _Rates = {
    "cer": ("errors", True),
    "wer": ("errors", False),
    "phoneme_error_rate": ("phoneme_errors", None),
}
_TEXT: _Rates = {"errors": ("errors", None)}


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds that hold 95 % of its bootstrap samples, rounded to 1e-4."""

    value: float
    low: float
    high: float


def rates(report: Path, samples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """The error rates of the report in a folder, with their intervals. Raises ``InputError`` if there is
    none.
    """
    return _intervals(read_rows(report), None, samples, seed)


def compare(report: Path, other: Path, samples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """The rates of ``report`` less those of ``other``, over the utterances in both: below 0, ``report`` is
    better.

    Raises ``InputError`` if one is no report, or if they have no two utterances in common.
    """
    return _intervals(*_shared(report, other), samples, seed)


def text_errors(report: Path, samples: int = 2000, seed: int = 0) -> Interval | None:
    """The errors a token of all texts of a report together, characters of Chinese and words of others; None
    if there is nothing to resample. Raises ``InputError`` as ``rates`` does.
    """
    return _intervals(read_rows(report), None, samples, seed, _TEXT).get("errors")


def compare_texts(report: Path, other: Path, samples: int = 2000, seed: int = 0) -> Interval | None:
    """The ``text_errors`` of ``report`` less those of ``other``, over the utterances in both. Raises
    ``InputError`` as ``compare`` does.
    """
    return _intervals(*_shared(report, other), samples, seed, _TEXT).get("errors")


def _shared(report: Path, other: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The lines of two reports of the utterances in both."""
    mine, theirs = read_rows(report), read_rows(other)
    shared = [name for name in mine if name in theirs]
    if len(shared) < _LEAST:
        raise InputError(f"{other}: this report and {report} have no two utterances in common")
    return {name: mine[name] for name in shared}, {name: theirs[name] for name in shared}


def read_rows(report: Path) -> dict[str, dict[str, Any]]:
    """The lines of a report's alignments by their utterance; of equal ids, by the id and a number. Raises
    ``InputError`` if they are none.
    """
    from nim4asr.evaluation.evaluate import ALIGNMENTS

    path = report / ALIGNMENTS
    rows: list[dict[str, Any]] = []
    # Not splitlines: a reference may hold U+2028, which JSON allows in a line.
    for number, line in enumerate(read_text(path, "report of nim4 evaluate").split("\n"), 1):
        if not line:
            continue
        try:
            row = parse_json(line)
            _counts(row["errors"]), _counts(row["phoneme_errors"])
            row["id"], _ = str(row["id"]), row["language"]
            rows.append(row)
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{path}, line {number}: this is no line of a report; evaluate again with --report"
            ) from None
    # Reports of today have no equal ids, but those of before might.
    return dict(zip(unique([row["id"] for row in rows]), rows, strict=True))


def _intervals(
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any] | None,
    samples: int,
    seed: int,
    wanted: _Rates = _RATES,
) -> dict[str, Interval]:
    random = np.random.default_rng(seed)
    found = {}
    for name, (key, chinese) in wanted.items():
        chosen = [
            utterance
            for utterance in mine
            if chinese is None or (mine[utterance]["language"] == "zh") == chinese
        ]
        own = _table(mine, chosen, key)
        if len(chosen) < _LEAST or not own[:, 1].sum():
            continue
        counts = random.multinomial(len(chosen), np.full(len(chosen), 1 / len(chosen)), samples)
        counts = np.concatenate([np.ones((1, len(chosen)), np.int64), counts])
        values = _rate(own, counts)
        if theirs is not None:
            values = values - _rate(_table(theirs, chosen, key), counts)
        low, high = np.percentile(values[1:], (2.5, 97.5))
        found[name] = Interval(round(float(values[0]), 4), round(float(low), 4), round(float(high), 4))
    return found


def _table(rows: Mapping[str, Any], chosen: list[str], key: str) -> NDArray[np.float64]:
    """Errors and reference tokens (N, 2) of the chosen utterances."""
    return np.array([_counts(rows[utterance][key]) for utterance in chosen], np.float64).reshape(-1, 2)


def _counts(errors: Mapping[str, int]) -> tuple[int, int]:
    wrong = int(errors["substitutions"]) + int(errors["deletions"]) + int(errors["insertions"])
    return wrong, int(errors["reference"])


def _rate(table: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The error rate of each sample, of which ``counts`` (S, N) says how often it holds each utterance."""
    sums = counts @ table
    return np.asarray(sums[:, 0] / np.maximum(sums[:, 1], 1.0))
