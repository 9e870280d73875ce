"""How likely it is that a name which fits was said.

Among N names, many fit what was said by chance, the more the shorter they are and the less exactly they must
fit. So the evidence for a name of n phonemes is

    e = gain n + trust log P(name | x) - doubt (c + c') - size log N + bias + log w

with log P(name | x) the log posterior of its likeliest path with tones, c and c' what the path costs more
than the head's best one without and with tones, and w the name's weight. It is the log odds that the name was
said: the coefficients, which a model's configuration holds, are those of a logistic regression on hits of its
phoneme head in training sentences, with lists of up to a million names that hold what was said
(``nim4asr.evaluation.calibration``, ``tools/fit_evidence.py``; ``docs/hotwords.md`` has the figures).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nim4asr.hotwords.ascending import first_not_below, value_at
from nim4asr.hotwords.database import Database
from nim4asr.hotwords.kernels import Kernels
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.phonemes.ctc import alignment_cost

Array = NDArray[Any]


def weigh(
    matches: Array, log_probs: Array, database: Database, config: EvidenceConfig, names: int, weakest: float
) -> Array:
    """The pronunciations that were matched and whose evidence is not below ``weakest``.

    Of ``matches`` (M, 5) in log posteriors (T, phonemes), with ``names`` to choose from: (match,
    pronunciation, cost with tones, evidence) each. Under a name there must be voice, not only what might have
    been one: half as many frames as it has phonemes.
    """
    weighed: Array = KERNELS(
        "_weigh",
        matches,
        log_probs,
        (*database.node, database.owner, database.sections["said"], database.sections["weight"]),
        (database.firsts, database.places),
        (config.gain, config.trust, config.doubt, config.list_cost(names)),
        weakest,
    )
    return weighed


def _weigh(
    found: Array,
    log_probs: Array,
    database: tuple[Array, Array, Array, Array, Array],
    levels: tuple[Array, Array],
    weights: tuple[float, float, float, float],
    weakest: float,
) -> Array:
    nodes, bases, owner, said, weight = database
    firsts, places = levels
    gain, trust, doubt, size = weights
    weighed = np.empty((16, 4))
    number = 0
    best = np.empty(len(log_probs))
    voiced = np.zeros(len(log_probs), np.bool_)
    if len(found):
        for t in range(int(found[:, 1].min()), int(found[:, 2].max())):
            best[t] = _greatest(log_probs[t])
            voiced[t] = log_probs[t, 0] < best[t]
    for row in range(len(found)):
        node, start, end = np.int64(found[row, 0]), int(found[row, 1]), int(found[row, 2])
        cost, length = found[row, 3], int(found[row, 4])
        if 2 * voiced[start:end].sum() < length:
            continue
        own = best[start:end].sum()
        pronunciation = first_not_below(nodes, bases, node)
        while pronunciation < len(nodes) and value_at(nodes, bases, pronunciation) == node:
            place = places[length] + (pronunciation - firsts[length]) * length
            toned = alignment_cost(log_probs[start:end], best[start:end], said[place : place + length])
            evidence = (
                gain * length
                + trust * (own - toned)
                - doubt * (cost + toned)
                - size
                + np.log(weight[owner[pronunciation]])
            )
            if evidence >= weakest:
                if number == len(weighed):
                    more = np.empty((2 * number, 4))
                    more[:number] = weighed
                    weighed = more
                weighed[number, 0], weighed[number, 1] = row, pronunciation
                weighed[number, 2], weighed[number, 3] = toned, evidence
                number += 1
            pronunciation += 1
    return weighed[:number]


def _greatest(row: Array) -> float:
    return row.max()  # type: ignore[no-any-return]


# Several comparisons at a time.
KERNELS = Kernels(
    _greatest,
    alignment_cost,
    value_at,
    first_not_below,
    _weigh,
    options={"_greatest": {"fastmath": {"reassoc", "nnan", "nsz"}}},
)
