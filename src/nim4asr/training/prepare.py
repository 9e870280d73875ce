"""What a recipe has to train on and with: corpora made readable, a tokenizer, a network to begin with.

Everything is made once and kept in the run's folder; a restarted run, or another process of it, finds it
there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nim4asr.acoustics.frontend import FeatureConfig
from nim4asr.acoustics.normalization import Cmvn, Normalization
from nim4asr.data.batches import WeightedCorpus
from nim4asr.data.keywords import KeywordSet, filtered, keywords_of
from nim4asr.data.manifest import Utterance, read_manifest
from nim4asr.data.noise import NoiseArchive
from nim4asr.data.preparation import prepare_noises, prepare_speech, prepare_synthetic, read_texts
from nim4asr.data.recordings import Recordings
from nim4asr.data.store import FeatureStore
from nim4asr.errors import InputError
from nim4asr.files import atomic_folder, write_atomic, write_json_lines
from nim4asr.model.assembly import assemble, public_tokenizer
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.model.folder import load_cmvn, save_cmvn
from nim4asr.model.nim4 import Nim4
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.progress import ProgressReporter, no_progress
from nim4asr.text.normalization import normalize
from nim4asr.training.model import TrainableModel
from nim4asr.training.phoneme_embedding import PhonemeEmbedding
from nim4asr.training.recipe import CorpusConfig, Recipe, SyntheticCorpus
from nim4asr.training.speech import TrainingData, in_form
from nim4asr.training.tokenizer import train_tokenizer

# Where utterances are listed that could not be read in the course of training.
SKIPPED = "skipped.jsonl"
# Where frames of a frozen encoder are stored.
FRAMES = "frames"


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A recipe's data; ``dev`` are the stores that phoneme errors and dev metrics are taken on."""

    data: TrainingData
    dev: Mapping[str, FeatureStore]
    tokenizer: Tokenizer
    keywords: KeywordSet


def prepare_data(
    recipe: Recipe,
    folder: Path,
    progress: ProgressReporter = no_progress,
    start: Checkpoint | None = None,
) -> PreparedData:
    """The prepared data of ``recipe``; a model to ``start`` from lends its normalization and, if whole, its
    tokenizer.

    Raises ``InputError`` if data are missing or cannot be read.
    """
    return _Preparation(recipe, folder, progress, start).gather()


class _Preparation:
    def __init__(
        self, recipe: Recipe, folder: Path, progress: ProgressReporter, start: Checkpoint | None
    ) -> None:
        self.recipe, self.folder, self.progress, self.start = recipe, folder, progress, start
        self.network = recipe.network(1)
        self.features: FeatureConfig = self.network.features
        self.sources: list[WeightedCorpus] = []
        self.dev: dict[str, FeatureStore] = {}
        self.transcripts: list[str] = []

    def gather(self) -> PreparedData:
        recipe = self.recipe
        for name, corpus in recipe.corpora.items():
            self._corpus(name, corpus)
        texts = [*(t for path in recipe.texts for t in read_texts(path)), *self.transcripts]
        if recipe.synthetic is not None:
            self._synthesize(recipe.synthetic)
        if not self.sources:
            raise InputError("the recipe has no corpus to train on")
        noises = (
            ()
            if recipe.noises is None
            else prepare_noises(
                recipe.noises, self.folder / "features", self.features, left_out=recipe.noises_left_out
            )
        )
        form = recipe.text_form
        formed = sorted({formed_text for text in texts if (formed_text := in_form(text, form))})
        frontend = self.network.frontend(self._normalization())
        data = TrainingData(
            self.sources, frontend, noises, formed, self.folder / SKIPPED, form, self.folder / FRAMES
        )
        return PreparedData(data, self.dev, self._tokenizer(formed), self._keywords())

    def _corpus(self, name: str, corpus: CorpusConfig) -> None:
        everything = read_manifest(corpus.manifest)
        train = [utterance for utterance in everything if not corpus.is_dev(utterance)]
        dev = [utterance for utterance in everything if corpus.is_dev(utterance)]
        self.transcripts += [utterance.text for utterance in train]
        if corpus.stored:
            self.sources.append(WeightedCorpus(self._store(f"{name}-train", train), corpus.weight))
        else:
            self.sources.append(WeightedCorpus(self._recordings(name, train), corpus.weight))
        if name in self.recipe.dev and dev:
            self.dev[name] = self._store(f"{name}-dev", dev)

    def _store(self, name: str, utterances: Sequence[Utterance]) -> FeatureStore:
        folder = self.folder / "features" / name
        prepare_speech(utterances, folder, self.features, name=name, progress=self.progress)
        return FeatureStore(folder)

    def _recordings(self, name: str, utterances: Sequence[Utterance]) -> Recordings:
        noises = self.recipe.noises
        recordings = Recordings(
            utterances,
            self.features,
            self.recipe.robustness,
            None if noises is None else NoiseArchive(str(noises), left_out=self.recipe.noises_left_out),
        )
        write_json_lines(
            self.folder / f"left-out-{name}.jsonl",
            ({"id": i, "reason": why} for i, why in recordings.left_out.items()),
        )
        return recordings

    def _synthesize(self, corpus: SyntheticCorpus) -> None:
        sentences = _sentences(corpus)
        folder = self.folder / "features" / "synthetic"
        prepare_synthetic(
            sentences,
            folder,
            self.features,
            corpus.seed,
            progress=self.progress,
        )
        self.sources.append(WeightedCorpus(FeatureStore(folder), corpus.weight))

    def _normalization(self) -> Normalization:
        if self.start is not None:
            return self.start.normalization
        if self.features.normalization is not None:
            return self.features.normalization
        kept = self.folder / "cmvn.json"
        if not kept.exists():
            save_cmvn(_pooled([source.corpus.cmvn() for source in self.sources]), kept)
        return load_cmvn(kept, self.features.bins)

    def _tokenizer(self, texts: Sequence[str]) -> Tokenizer:
        if self.start is not None and self.start.tokenizer is not None:
            return self.start.tokenizer
        if self.recipe.language_model is not None:
            return public_tokenizer(self.recipe.language_model)
        folder = self.folder / "tokenizer"
        if not folder.exists():
            with atomic_folder(folder) as new:
                train_tokenizer(texts, self.recipe.vocabulary).save(new)
        return Tokenizer.load(folder)

    def _keywords(self) -> KeywordSet:
        recipe = self.recipe
        if recipe.keywords is None:
            return KeywordSet()
        kept = self.folder / "keywords.txt"
        if not kept.exists():
            found = keywords_of(sorted({normalize(text) for text in self.transcripts}), recipe.keywords)
            if recipe.keyword_filter is not None:
                judge = recipe.keyword_filter
                found = filtered(found, judge.endpoint, judge.model, os.environ.get(judge.key_variable, ""))
            write_atomic(kept, "".join(f"{keyword}\n" for keyword in found))
        return KeywordSet(read_texts(kept))


def build_model(
    recipe: Recipe, prepared: PreparedData, start: Checkpoint | None, whole: bool
) -> TrainableModel:
    """The model before the first stage.

    Of a model to ``start`` from, everything is taken if ``whole``, else the encoder and the phoneme head.
    Raises ``InputError`` if that does not fit the recipe.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = prepared.tokenizer
    if recipe.starts_whole:
        if start is None:
            raise InputError("the recipe begins with a whole model; name it with --init-model")
        return TrainableModel(start.network, tokenizer, None, prepared.keywords)
    if recipe.language_model is not None and not whole:
        network = assemble(recipe.network(len(tokenizer)), recipe.language_model).network
        phoneme_embedding = None
    else:
        network = Nim4(recipe.network(len(tokenizer)))
        # E of text pre-training lives beside the network, for the alignment stage.
        phoneme_embedding = None if recipe.language_model is not None else PhonemeEmbedding(network)
        if phoneme_embedding is not None and not whole:
            phoneme_embedding.start_tokens_by_sound(tokenizer)
    if start is not None:
        blocks = ("encoder.", "phoneme_head.", "adaptor.", "llm.") if whole else ("encoder.", "phoneme_head.")
        _copy_blocks(start, network, blocks)
    return TrainableModel(network, tokenizer, phoneme_embedding, prepared.keywords)


def _copy_blocks(start: Checkpoint, network: Nim4, blocks: tuple[str, ...]) -> None:
    theirs = start.network.state_dict()
    for name, value in network.state_dict().items():
        if name.startswith(blocks):
            if name not in theirs or theirs[name].shape != value.shape:
                raise InputError(
                    f"{start.config.name!r} cannot begin this recipe; "
                    f"its {name!r} is missing or of another shape"
                )
            value.copy_(theirs[name])


def _pooled(parts: Sequence[Cmvn]) -> Cmvn:
    """One normalization of several corpora, each counting alike."""
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
