"""Names that were heard, and which of them go into the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nim4asr.model.prompt import MOST_HINTS
from nim4asr.text.occurrences import stands_in


@dataclass(frozen=True)
class Hit:
    """A name that was heard from ``start`` to ``end`` seconds.

    ``score`` in (0, 1] is exp(-cost / phonemes): 1 on the phoneme head's best path. ``tones`` says whether
    its tones were within the search's allowance too. ``evidence`` is the log odds that it was said.
    """

    text: str
    start: float
    end: float
    score: float
    tones: bool
    phonemes: int
    evidence: float
    weight: float = 1.0
    category: str = ""


@dataclass(frozen=True)
class HintConfig:
    """Which hits become hints."""

    max_hints: int = MOST_HINTS
    """So many at most; 0 only reports the hits."""
    min_log_odds: float = 0.0
    """The least evidence of a hint: 0 is as likely said as not."""
    tie_margin: float = 0.5
    """Names that sound the same share a place if their evidence is within this of its best."""
    category_bias: Mapping[str, float] = field(default_factory=dict)
    """Adds to the evidence of the names of a category: log 2 for one whose names are said twice as
    often as others.
    """

    def __post_init__(self) -> None:
        # Its own, so that nobody changes it afterwards, and a dict, which can be sent to other processes.
        object.__setattr__(self, "category_bias", dict(self.category_bias))


def choose(hits: Sequence[Hit], config: HintConfig, draft: str = "") -> list[Hit]:
    """The hits worth a hint, those with the most evidence first, each text once.

    Of hits that overlap, the one with the most evidence has the place. A name that stands in ``draft``, what
    the model was about to write anyway, needs no hint.
    """

    def strength(hit: Hit) -> float:
        return hit.evidence + config.category_bias.get(hit.category, 0.0)

    chosen: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: (-strength(hit), hit.start, hit.text)):
        if strength(hit) < config.min_log_odds:
            break
        rivals = [rival for rival in chosen if hit.start < rival.end and rival.start < hit.end]
        shared = all(
            (rival.start, rival.end, rival.phonemes) == (hit.start, hit.end, hit.phonemes)
            and strength(rival) - strength(hit) <= config.tie_margin
            for rival in rivals
        )
        if shared:
            chosen.append(hit)
    best: dict[str, Hit] = {}
    for hit in chosen:
        if hit.text not in best and not stands_in(hit.text, draft):
            best[hit.text] = hit
    return list(best.values())[: config.max_hints]
