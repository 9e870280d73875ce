"""A whole run as data: corpora, network, stages in order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nim4asr.data.keywords import KeywordConfig
from nim4asr.data.manifest import Utterance
from nim4asr.data.robustness import RobustnessConfig
from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.training.speech import TextForm
from nim4asr.training.stages.base import Stage


@dataclass(frozen=True)
class CorpusConfig:
    """A manifest and how often an epoch holds each of its utterances.

    ``dev_speakers`` are set aside as the split dev is. ``stored`` computes its features once, which fits a
    corpus of up to some hundred hours; else the recordings are read and augmented at every pass.
    """

    manifest: Path
    weight: float = 1.0
    stored: bool = True
    dev_speakers: tuple[str, ...] = ()

    def is_dev(self, utterance: Utterance) -> bool:
        """Whether the utterance is never trained on."""
        return utterance.split == "dev" or utterance.speaker in self.dev_speakers


@dataclass(frozen=True)
class SyntheticCorpus:
    """Texts to be spoken by synthesizers: so many sentences of each language, within these lengths."""

    texts: Mapping[str, Path]
    sentences: Mapping[str, int]
    characters: tuple[int, int] = (3, 80)
    weight: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class KeywordFilter:
    """An OpenAI-compatible endpoint (``https://.../v1``) and its model, which keeps the keywords that are
    names or terms. Its key, if it needs one, is the environment's ``key_variable``: settings are saved, and a
    key must not be.
    """

    endpoint: str
    model: str
    key_variable: str = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Recipe:
    """A whole run. ``stages`` run in order; ``network`` makes the configuration for a vocabulary's size.

    The language model is ``language_model``, a folder or hub name, with its tokenizer; or None, and then a
    fresh one with a tokenizer of ``vocabulary`` tokens. ``bootstrap_stages`` are the stages that an encoder
    which has learnt to hear already does without. ``robustness`` varies the samples of corpora that are not
    stored. ``keywords`` says what context SFT and RL hint at; None where there is no such stage.
    ``text_form`` is how the model learns to write: ``plain``, as texts are compared (lower case, numbers as
    spoken, no punctuation), or ``written``, as they stand in the corpora. ``precision`` ``auto`` is bfloat16
    under autocast where that is faster; the model is saved in ``saved_dtype``. Recordings of ``noises`` whose
    names begin with one of ``noises_left_out`` are not trained on, so that the model can be judged on them.
    """

    network: Callable[[int], Nim4Config]
    corpora: Mapping[str, CorpusConfig]
    stages: Mapping[str, Stage]
    vocabulary: int = 6000
    language_model: str | None = None
    texts: Sequence[Path] = ()
    noises: Path | None = None
    noises_left_out: Sequence[str] = ()
    synthetic: SyntheticCorpus | None = None
    robustness: RobustnessConfig = field(default_factory=RobustnessConfig)
    keywords: KeywordConfig | None = None
    keyword_filter: KeywordFilter | None = None
    text_form: TextForm = "plain"
    dev: Sequence[str] = ()
    bootstrap_stages: Sequence[str] = ()
    precision: Literal["no", "bf16", "auto"] = "no"
    saved_dtype: Literal["float16", "bfloat16"] = "float16"
    seed: int = 0

    def stages_from(self, has_model: bool, start_stage: str | None) -> list[str]:
        """The names of the stages to run, in order: all of them; for a run that ``has_model`` to start from,
        without the bootstrap stages; or those from ``start_stage`` on. Raises ``InputError`` if there is no
        such stage, or no model to start from.
        """
        names = list(self.stages)
        if start_stage is None:
            return [name for name in names if not (has_model and name in self.bootstrap_stages)]
        if start_stage not in names:
            raise InputError(f"there is no stage {start_stage!r}; the recipe has {', '.join(names)}")
        if not has_model:
            raise InputError(f"to start at the stage {start_stage!r}, name a model with --init-model")
        return names[names.index(start_stage) :]
