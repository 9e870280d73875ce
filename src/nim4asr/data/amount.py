"""How much speech there is, before any of it is prepared."""

from collections.abc import Sequence
from dataclasses import dataclass

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError

# Recordings whose lengths stand for those of all that no manifest gives.
_SAMPLED = 200


@dataclass(frozen=True)
class Amount:
    """So many utterances, which last so many seconds together."""

    utterances: int
    seconds: float


def amount_of(utterances: Sequence[Utterance]) -> Amount:
    """How much speech ``utterances`` are, by the durations in their manifests; where these say none, by the
    mean of some recordings, evenly spread, which are read.

    Raises ``InputError`` if none of these can be read.
    """
    seconds = sum(utterance.duration or 0.0 for utterance in utterances)
    untold = [utterance for utterance in utterances if not utterance.duration]
    if untold:
        lengths = []
        for utterance in untold[:: max(1, len(untold) // _SAMPLED)]:
            try:
                lengths.append(len(read_audio(utterance.source())) / SAMPLE_RATE)
            except InputError:
                continue
        if not lengths:
            raise InputError(
                f"{len(untold)} utterances have no duration in their manifest, and none of their recordings "
                f"can be read, among them {untold[0].audio}"
            )
        seconds += len(untold) * sum(lengths) / len(lengths)
    return Amount(len(utterances), seconds)
