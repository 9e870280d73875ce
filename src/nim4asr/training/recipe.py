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

# The folder of the trained model, in the run's.
MODEL = "model"


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus to train on."""

    manifest: Path
    """Its utterances (``nim4asr.data.manifest``)."""
    weight: float = 1.0
    """How often an epoch holds each of them."""
    stored: bool = True
    """Compute the features once, which fits a corpus of up to some hundred hours; else the recordings
    are read and augmented at every pass.
    """
    dev_speakers: tuple[str, ...] = ()
    """Speakers that are set aside as the split dev is."""

    def is_dev(self, utterance: Utterance) -> bool:
        """Whether the utterance is never trained on."""
        return utterance.split == "dev" or utterance.speaker in self.dev_speakers


@dataclass(frozen=True)
class SyntheticCorpus:
    """Texts to be spoken by synthesizers."""

    texts: Mapping[str, Path]
    """Text files by language."""
    sentences: Mapping[str, int]
    """How many sentences of each language."""
    characters: tuple[int, int] = (3, 80)
    """The least and the most characters of a sentence."""
    weight: float = 0.3
    """How often an epoch holds each of them."""
    seed: int = 0


@dataclass(frozen=True)
class KeywordFilter:
    """A language model that keeps the keywords which are names or terms."""

    endpoint: str
    """An OpenAI-compatible endpoint (``https://.../v1``)."""
    model: str
    """Its name there."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable with the key, if it needs one: settings are saved, and a key must not be."""


@dataclass(frozen=True)
class Recipe:
    """A whole run as data."""

    network: Callable[[int], Nim4Config]
    """Makes the configuration of the network for a vocabulary's size."""
    corpora: Mapping[str, CorpusConfig]
    """What it is trained on, by name."""
    stages: Mapping[str, Stage]
    """The stages by name, in the order in which they run."""
    vocabulary: int = 6000
    """The size of the vocabulary, where the tokenizer is trained too."""
    language_model: str | None = None
    """A folder or hub name, with its tokenizer; None is a fresh one."""
    texts: Sequence[Path] = ()
    """Files of sentences, for text pre-training and the tokenizer."""
    noises: Path | None = None
    """An archive of noises (``nim4asr.data.noise``)."""
    noises_left_out: Sequence[str] = ()
    """Recordings whose names begin with one of these are not trained on, so that the model can be
    judged on them.
    """
    synthetic: SyntheticCorpus | None = None
    robustness: RobustnessConfig = field(default_factory=RobustnessConfig)
    """How the samples of corpora that are not stored are varied."""
    keywords: KeywordConfig | None = None
    """What context SFT and RL hint at; None where there is no such stage."""
    keyword_filter: KeywordFilter | None = None
    """Judges the keywords."""
    text_form: TextForm = "plain"
    """What the model learns to write: ``plain``, as texts are compared (lower case, numbers as spoken,
    no punctuation), or ``written``, as they stand in the corpora.
    """
    dev: Sequence[str] = ()
    """The corpora whose dev splits are measured during training."""
    starts_whole: bool = False
    """Whether a run begins with all of a model, whose configuration ``network`` gives, whatever its first
    stage is.
    """
    bootstrap_stages: Sequence[str] = ()
    """Stages that an encoder which recognizes phonemes already does without."""
    precision: Literal["no", "bf16", "auto"] = "no"
    """``auto`` is bfloat16 under autocast where that is faster."""
    saved_dtype: Literal["float16", "bfloat16"] = "float16"
    """The type of the saved weights."""
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
