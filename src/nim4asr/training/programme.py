"""The stages of a recipe, one after another, each from what the one before it left.

A run's folder holds ``features`` (the data, prepared once), ``tokenizer``, a folder a stage (log and
state), and at the end ``model``, the checkpoint. Stopped at any moment, the same command goes on where
the last state was saved.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import load_file
from torch import nn

from nim4asr.audio.features import Cmvn
from nim4asr.data.batches import Collator, Sampler, Source, SpeechBatch
from nim4asr.data.manifest import Utterance, read_manifest
from nim4asr.data.preparation import prepare_noises, prepare_speech, prepare_synthetic, read_texts
from nim4asr.data.store import FeatureStore
from nim4asr.errors import InputError
from nim4asr.evaluation.normalisation import normalise
from nim4asr.model.checkpoint import Checkpoint, load, save
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4
from nim4asr.phonemes import TABLE, pronounce
from nim4asr.training.alignment import AlignmentConfig, alignment_loss, freeze_for_alignment
from nim4asr.training.hints import draw_hints
from nim4asr.training.loop import Loop
from nim4asr.training.pretraining import (
    AcousticModel,
    PretrainingConfig,
    draw_chunks,
    phoneme_errors,
    pretraining_loss,
)
from nim4asr.training.sft import SftConfig, freeze_for_sft, sft_loss
from nim4asr.training.text_pretraining import (
    PhonemeSpeech,
    TextPretrainingConfig,
    TextSampler,
    text_pretraining_loss,
)
from nim4asr.training.tokenizer import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Shown = Callable[[Iterable[Any], str, int, int], Iterator[Any]]


@dataclass(frozen=True)
class Corpus:
    """A manifest and how often an epoch holds each of its utterances."""

    manifest: Path
    weight: float = 1.0


@dataclass(frozen=True)
class SyntheticCorpus:
    """Texts to be spoken by synthesisers: so many sentences of each language, within these lengths."""

    texts: Mapping[str, Path]
    sentences: Mapping[str, int]
    characters: tuple[int, int] = (3, 80)
    weight: float = 0.3
    seed: int = 0


@dataclass(frozen=True)
class SpeechStage:
    """A stage on speech; ``longest`` in seconds, ``only`` the corpora of these names (default: all)."""

    config: PretrainingConfig | AlignmentConfig | SftConfig
    longest: float = 13.0


Stage = SpeechStage | TextPretrainingConfig


@dataclass(frozen=True)
class Programme:
    """A whole run. ``stages`` run in order; ``network`` makes the configuration for a vocabulary's size.

    ``first_words`` are the stages that an encoder which has learnt to hear already does without.
    """

    network: Callable[[int], Nim4Config]
    vocabulary: int
    corpora: Mapping[str, Corpus]
    texts: Sequence[Path]
    noises: Path | None
    synthetic: SyntheticCorpus | None
    stages: Mapping[str, Stage]
    dev: Sequence[str] = ()
    first_words: Sequence[str] = ()
    seed: int = 0


def run_programme(
    programme: Programme,
    folder: Path,
    only: str | None,
    shown: Shown,
    start: str | Path | None = None,
) -> None:
    """Train the stages of ``programme`` (or the one named ``only``) and save the model.

    With ``start``, the encoder and the phoneme head begin as that model's, its normalisation is kept, and the
    stages named ``first_words`` are left out. Raises ``InputError`` if data are missing or a stage's
    predecessor is not done.
    """
    if only is not None and only not in programme.stages:
        known = ", ".join(programme.stages)
        raise InputError(f"there is no stage {only!r}; the recipe has {known}")
    begun = None if start is None else load(start)
    _Run(programme, folder, shown, begun).run(only)


class _Run:
    def __init__(self, programme: Programme, folder: Path, shown: Shown, start: Checkpoint | None) -> None:
        self.programme, self.folder, self.shown, self.start = programme, folder, shown, start
        left_out = programme.first_words if start is not None else ()
        self.stages = {k: v for k, v in programme.stages.items() if k not in left_out}
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, only: str | None) -> None:
        self._prepare()
        torch.manual_seed(self.programme.seed)
        network = Nim4(self.programme.network(len(self.tokenizer)))
        if self.start is not None:
            _begin_from(self.start, network)
        # E of text pre-training lives beside the network, for the alignment stage.
        phonemes = PhonemeSpeech(network)
        phonemes.start_tokens_by_sound(self.tokenizer)
        for name, stage in self.stages.items():
            model = _trained_by(stage, network, phonemes)
            done = self._is_done(name, stage)
            if not done and only in (None, name):
                self._train(name, stage, network, phonemes, model)
            elif not done and only is not None:
                raise InputError(f"the stage {name!r} comes before {only!r} and is not done yet")
            else:
                _copy_state(self.folder / name / "state/model.safetensors", model)
            if only == name:
                break
        network.requires_grad_(True)
        save(
            Checkpoint(network.eval(), self.cmvn, self.tokenizer),
            self.folder / "model",
            dtype=torch.float16,
        )

    def _is_done(self, name: str, stage: Stage) -> bool:
        state = self.folder / name / "state/step.json"
        steps = stage.config.loop.steps if isinstance(stage, SpeechStage) else stage.loop.steps
        return state.exists() and int(json.loads(state.read_text())["step"]) >= steps

    def _prepare(self) -> None:
        programme, features = self.programme, self.folder / "features"
        self.stores: dict[str, FeatureStore] = {}
        self.dev: dict[str, FeatureStore] = {}
        texts: list[str] = [t for path in programme.texts for t in read_texts(path)]
        for name, corpus in programme.corpora.items():
            everything = read_manifest(corpus.manifest)
            train = [one for one in everything if one.split != "dev"]
            dev = [one for one in everything if one.split == "dev"]
            texts += [one.text for one in train]
            self.stores[name] = self._store(f"{name}-train", train)
            if name in programme.dev and dev:
                self.dev[name] = self._store(f"{name}-dev", dev)
        if programme.synthetic is not None:
            sentences = _sentences(programme.synthetic)
            prepare_synthetic(
                sentences,
                features / "synthetic",
                programme.synthetic.seed,
                progress=lambda items: self.shown(items, "synthesising", len(sentences), 0),
            )
            self.stores["synthetic"] = FeatureStore(features / "synthetic")
        noises = programme.noises
        self.noises = prepare_noises(noises, features) if noises is not None else []
        if self.start is not None:
            self.cmvn = self.start.cmvn
        else:
            self.cmvn = _pooled([store.cmvn() for store in self.stores.values()])
        self.texts = sorted({plain for text in texts if (plain := normalise(text))})
        self.tokenizer = self._tokenizer()

    def _store(self, name: str, utterances: Sequence[Utterance]) -> FeatureStore:
        folder = self.folder / "features" / name
        prepare_speech(
            utterances,
            folder,
            progress=lambda items: self.shown(items, f"reading {name}", len(utterances), 0),
        )
        return FeatureStore(folder)

    def _tokenizer(self) -> "PreTrainedTokenizerBase":
        from transformers import AutoTokenizer

        folder = self.folder / "tokenizer"
        if not folder.exists():
            train_tokenizer(self.texts, self.programme.vocabulary).save_pretrained(str(folder))
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder))
        return tokenizer

    def _train(
        self,
        name: str,
        stage: Stage,
        network: Nim4,
        phonemes: PhonemeSpeech,
        model: nn.Module,
    ) -> None:
        folder = self.folder / name

        def counted(steps: Iterator[int], start: int) -> Iterator[int]:
            config = stage.config.loop if isinstance(stage, SpeechStage) else stage.loop
            return self.shown(steps, name, config.steps, start)

        if isinstance(stage, TextPretrainingConfig):
            labelled = _labelled(self.texts)
            sampler = TextSampler(labelled, stage, phonemes.stack)
            Loop(
                folder,
                model,
                stage.loop,
                sampler,
                lambda batch, random: text_pretraining_loss(phonemes, network, self.tokenizer, batch),
                progress=counted,
            ).run()
            return
        batches = Sampler(self._sources(), stage.config.batch_seconds, longest=stage.longest)
        collator = self._collator(stage)
        clean = Collator(self.cmvn)

        def make_batch(step: int, random: Generator) -> SpeechBatch:
            return collator(batches.batch(step), random)

        def evaluate() -> dict[str, float]:
            acoustic = _acoustic(network)
            rates = {
                corpus: phoneme_errors(acoustic, store, clean, np.random.default_rng(0), 100).rate
                for corpus, store in self.dev.items()
            }
            return {name: rate for name, rate in rates.items() if rate is not None}

        def loss(batch: SpeechBatch, random: Generator) -> Mapping[str, torch.Tensor]:
            config = stage.config
            if isinstance(config, PretrainingConfig):
                return pretraining_loss(_acoustic(network), batch, config, random)
            if isinstance(config, AlignmentConfig):
                imitated = phonemes if config.imitate else None
                return alignment_loss(network, self.tokenizer, batch, imitated)
            chunks = draw_chunks(PretrainingConfig(config.loop), random)
            hints = None if config.hints is None else draw_hints(batch.texts, config.hints, random)
            return sft_loss(network, self.tokenizer, batch, config, chunks, hints)

        Loop(folder, model, stage.config.loop, make_batch, loss, evaluate, counted).run()

    def _sources(self) -> list[Source]:
        weights = {name: corpus.weight for name, corpus in self.programme.corpora.items()}
        if self.programme.synthetic is not None:
            weights["synthetic"] = self.programme.synthetic.weight
        return [Source(store, weights[name]) for name, store in self.stores.items()]

    def _collator(self, stage: SpeechStage) -> Collator:
        config = stage.config
        if isinstance(config, PretrainingConfig):
            more = config.more_time_masks if config.views > 1 else 1.0
            return Collator(self.cmvn, config.augmentation, self.noises, config.views, more)
        empty = config.empty_share if isinstance(config, SftConfig) else 0.0
        return Collator(self.cmvn, config.augmentation, self.noises, empty_share=empty, text=normalise)


def _acoustic(network: Nim4) -> AcousticModel:
    assert network.phoneme_head is not None
    return AcousticModel(network.encoder, network.phoneme_head)


def _trained_by(stage: Stage, network: Nim4, phonemes: PhonemeSpeech) -> nn.Module:
    """The part of the network that ``stage`` trains, everything else in it frozen."""
    if isinstance(stage, TextPretrainingConfig):
        return phonemes.requires_grad_(True)
    if isinstance(stage.config, PretrainingConfig):
        return _acoustic(network).requires_grad_(True)
    if isinstance(stage.config, AlignmentConfig):
        freeze_for_alignment(network)
    else:
        freeze_for_sft(network, stage.config.joint)
    return network


def _begin_from(start: Checkpoint, network: Nim4) -> None:
    theirs = start.network.state_dict()
    ours = {
        name: value
        for name, value in network.state_dict().items()
        if name.startswith(("encoder.", "phoneme_head."))
    }
    for name, value in ours.items():
        if name not in theirs or theirs[name].shape != value.shape:
            raise InputError(
                f"{start.config.name!r} cannot begin this recipe; its {name!r} is missing or of another shape"
            )
        value.copy_(theirs[name])


def _copy_state(path: Path, model: nn.Module) -> None:
    weights = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])


def _pooled(parts: Sequence[Cmvn]) -> Cmvn:
    """One normalisation of several corpora, each counting alike."""
    mean = np.mean([part.mean for part in parts], axis=0)
    square = np.mean([1 / part.scale**2 + part.mean**2 for part in parts], axis=0)
    return Cmvn(mean.astype(np.float32), (1 / np.sqrt(square - mean**2)).astype(np.float32))


def _sentences(corpus: SyntheticCorpus) -> list[tuple[str, str]]:
    random = np.random.default_rng(corpus.seed)
    shortest, longest = corpus.characters
    chosen: list[tuple[str, str]] = []
    for language, path in corpus.texts.items():
        texts = [text for text in read_texts(path) if shortest <= len(text) <= longest]
        order = random.permutation(len(texts))[: corpus.sentences[language]]
        chosen += [(texts[i], language) for i in order]
    return [chosen[i] for i in random.permutation(len(chosen))]


def _labelled(texts: Iterable[str]) -> list[tuple[str, list[int]]]:
    labelled = []
    for text in texts:
        try:
            phonemes = TABLE.encode(pronounce(text))
        except ValueError:
            continue
        if phonemes:
            labelled.append((text, phonemes))
    return labelled
