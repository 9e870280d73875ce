"""What belongs to the new phoneme head, fitted to recordings that it was never trained on: the evidence of
hotwords, and the bound of the guard against sounds that could be anything.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nim4asr.audio.samples import Floats
from nim4asr.audio.voice_activity import SpeechSegment
from nim4asr.data.manifest import Utterance
from nim4asr.errors import InputError
from nim4asr.evaluation.calibration import check_guard, dictionary_names, fit_evidence, names_said
from nim4asr.evaluation.retrieval import Spoken
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.evidence import EvidenceConfig
from nim4asr.progress import ProgressReporter
from nim4asr.recognition.offline import Recognizer

# Evidence has five coefficients: it takes so many different names that were said, in so many recordings.
LEAST_SAID, LEAST_SPOKEN = 100, 50
# More recordings than these bring nothing new.
MOST_HEARD = 400
_LIST_SIZES = (2000, 10_000, 50_000)


@dataclass(frozen=True)
class Fitted:
    """Coefficients and bound for the new weights, and rows that say how they came about."""

    evidence: EvidenceConfig
    max_entropy: float | None
    evidence_row: dict[str, Any]
    guard_row: dict[str, Any]

    def within(self, config: Nim4Config) -> Nim4Config:
        """``config`` with them."""
        decoding = replace(config.decoding, max_entropy=self.max_entropy)
        return replace(config, decoding=decoding, evidence=self.evidence)


def fitted_to(model: Path, held_out: Sequence[Utterance], progress: ProgressReporter) -> Fitted:
    """Evidence and guard for the model in a folder, by the first of the recordings ``held_out``. What they
    are too few for stays as it is.
    """
    recognizer = Recognizer.load(model)
    config = recognizer.model.config
    heard: list[Floats] = []
    spoken: list[Spoken] = []
    chosen = held_out[:MOST_HEARD]
    for utterance in progress(chosen, "listening", len(chosen)):
        try:
            samples = utterance.samples()
        except InputError:
            continue
        heard.append(samples)
        spoken.append(Spoken(utterance.text, recognizer.log_posteriors(SpeechSegment(0.0, samples))))
    check = check_guard(recognizer, heard)
    used = config.decoding.max_entropy
    bound = None if used is None else check.bound(used)
    guard_row = {"max_entropy": bound, "max_entropy_before": used, **asdict(check)}
    evidence, evidence_row = _evidence(spoken, config.evidence, progress)
    return Fitted(evidence, bound, evidence_row, guard_row)


def _evidence(
    spoken: Sequence[Spoken], used: EvidenceConfig, progress: ProgressReporter
) -> tuple[EvidenceConfig, dict[str, Any]]:
    row: dict[str, Any] = {"fitted": False, "coefficients": asdict(used), "coefficients_before": asdict(used)}
    if find_spec("numba") is None:
        return used, row | {"why": "the search is not compiled: pip install 'nim4asr[hotwords]'"}
    if len(spoken) < LEAST_SPOKEN:
        return used, row | {"why": f"{len(spoken)} recordings are too few; it takes {LEAST_SPOKEN}"}
    names = dictionary_names(utterance.text for utterance in spoken)
    said = names_said(spoken, names)
    if said < LEAST_SAID:
        return used, row | {
            "why": f"{said} different words of the dictionary were said, and it takes {LEAST_SAID}"
        }
    fit = fit_evidence(spoken, names, _LIST_SIZES, used, progress)
    if fit is None:
        return used, row | {"why": "no name matched anything"}
    figures = asdict(fit)
    figures.pop("config")
    row |= {"recordings": len(spoken), **figures}
    if fit.loss_apart >= fit.loss_before:
        return used, row | {
            "why": "coefficients fitted to one half tell no more of the other than the old ones"
        }
    return fit.config, row | {"fitted": True, "coefficients": asdict(fit.config), "why": ""}
