"""Text pre-training of a small language model from scratch: written text from simulated phonemes.

A recognizer with a public language model skips this stage. nano has none, and its 16 hours of speech hold too
few words to learn a language from, while text is plentiful. So the language model learns on text alone
what it will do with speech: its prompt holds, in the place of speech embeddings, the sum over the
``stack`` frames of a speech token

    e = sum_k sum_p w_k(p) E[k, p]

where w_k is a simulated posterior of frame k over the phoneme table: the text's phonemes, each a spike and
some blanks long as in real CTC output, some of them blurred with a similar phoneme, replaced, left out or
put in. The loss is the cross entropy of the transcript, as in every later stage.

Tokens that sound alike start alike: a token's embedding begins near those of its phonemes, so that writing
what was heard is near to copying it, and what is left to learn is which of the homophones is meant.

E is trained here and then serves the alignment stage: the adaptor starts by reproducing it from real frames
and their real posteriors (``nim4asr.training.stages.alignment``).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from nim4asr.data.packing import Epochs, pack
from nim4asr.errors import InputError
from nim4asr.model.nim4 import Nim4
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.phonemes import BLANK, TABLE, pronounce
from nim4asr.phonemes.inventory import FINALS, INITIALS, TONES
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerms, Objective, freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.phoneme_embedding import PhonemeEmbedding
from nim4asr.training.speech import TrainingData
from nim4asr.training.stages.base import SingleStage
from nim4asr.training.stages.hints import HintSampling, draw_hints
from nim4asr.training.stages.transcript_loss import transcript_loss


@dataclass(frozen=True)
class SimulationConfig:
    """How unlike the text's own phonemes the simulated posteriors are; rates are of the phonemes."""

    blur_rate: float = 0.3
    """A similar phoneme takes a part of the probability."""
    substitution_rate: float = 0.1
    """A similar phoneme stands in its place."""
    deletion_rate: float = 0.04
    insertion_rate: float = 0.03
    phoneme_frames: tuple[int, ...] = (1, 2, 2, 2, 3, 3, 3, 4, 4, 5)
    """How many frames a phoneme lasts, drawn evenly from these."""
    max_silence_frames: int = 12
    """Up to so many blank frames before and after the text."""


@dataclass(frozen=True)
class TextPretraining(SingleStage):
    """Text pre-training."""

    loop: LoopConfig
    batch_tokens: int = 3000
    """Speech and text tokens in a batch, padding included."""
    max_phonemes: int = 90
    """Longer texts are left out."""
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    hints: HintSampling | None = None
    """Which prompts have hints, if any."""

    @property
    def needs_phoneme_embedding(self) -> bool:
        """Trains it."""
        return True

    def objective(self, model: TrainableModel) -> "SimulatedSpeechLoss":
        """Cross entropy; the language model and E are left trainable. Raises ``InputError`` if there is no
        E.
        """
        freeze_all_but(model.network, "llm")
        if model.phoneme_embedding is None:
            raise InputError(
                "text pre-training is for a language model trained from scratch; "
                "this recipe has language_model set"
            )
        model.phoneme_embedding.requires_grad_(True)
        return SimulatedSpeechLoss(model.network, model.tokenizer, model.phoneme_embedding)

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], "TextBatch"]:
        """Texts, each with a simulated hearing of its own."""
        assert model.phoneme_embedding is not None
        return TextSampler(labeled(data.texts), self, model.phoneme_embedding.stack)


@dataclass(frozen=True)
class TextBatch:
    """Simulated posteriors as two candidates a frame: ``phonemes`` (B, S, stack, 2), ``weights`` alike;
    ``lengths`` (B,) in speech tokens; the texts, and the hints of each prompt.
    """

    phonemes: Tensor
    weights: Tensor
    lengths: Tensor
    texts: tuple[str, ...]
    hints: tuple[tuple[str, ...], ...] | None = None

    def to(self, device: torch.device) -> "TextBatch":
        """The same batch on ``device``."""
        moved = {name: getattr(self, name).to(device) for name in ("phonemes", "weights", "lengths")}
        return replace(self, **moved)


class SimulatedSpeechLoss(Objective[TextBatch]):
    """Cross entropy of the texts, a token."""

    def __init__(self, network: Nim4, tokenizer: Tokenizer, phoneme_embedding: PhonemeEmbedding) -> None:
        super().__init__()
        # The network's language model is E's, too, and its other parts are no part of this stage.
        self.phoneme_embedding = phoneme_embedding
        self._network, self._tokenizer = (network,), tokenizer

    def forward(self, batch: TextBatch, random: Generator) -> LossTerms:
        """``transcript``."""
        (network,) = self._network
        speech = self.phoneme_embedding.embed(batch.phonemes, batch.weights)
        loss = transcript_loss(network, self._tokenizer, speech, batch.lengths, batch.texts, batch.hints)
        return {"transcript": loss}


def labeled(texts: Iterable[str]) -> list[tuple[str, list[int]]]:
    """``texts`` with their phonemes, without those that have none."""
    pairs = []
    for text in texts:
        try:
            phonemes = TABLE.encode(pronounce(text))
        except ValueError:
            continue
        if phonemes:
            pairs.append((text, phonemes))
    return pairs


@cache
def _alike(phoneme: int) -> tuple[int, ...]:
    """Phonemes that a recognizer may take for ``phoneme``: its other tones, or others of its class."""
    first_final = 1 + len(INITIALS)
    first_english = first_final + len(FINALS) * TONES
    if phoneme < first_final:
        return tuple(i for i in range(1, first_final) if i != phoneme)
    if phoneme >= first_english:
        return tuple(i for i in range(first_english, len(TABLE)) if i != phoneme)
    base, tone = divmod(phoneme - first_final, TONES)
    tones = range(first_final + base * TONES, first_final + (base + 1) * TONES)
    same_tone = range(first_final + tone, first_english, TONES)
    # A wrong tone is about as common as a wrong final: repeat the few tones.
    return (*[t for t in tones if t != phoneme] * 8, *(f for f in same_tone if f != phoneme))


def simulate(
    phonemes: Sequence[int], stack: int, config: SimulationConfig, random: Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two candidates a frame, indices and weights (S, stack, 2), of simulated CTC output."""
    frames: list[tuple[int, int, float]] = []

    def silence(most: int) -> None:
        frames.extend([(BLANK, BLANK, 1.0)] * int(random.integers(0, most + 1)))

    silence(config.max_silence_frames)
    for phoneme in phonemes:
        draw = random.random(3)
        if draw[0] < config.deletion_rate:
            continue
        said, other, weight = phoneme, BLANK, 1.0
        if draw[1] < config.substitution_rate:
            said = int(random.choice(_alike(phoneme)))
        elif draw[1] < config.substitution_rate + config.blur_rate:
            other, weight = int(random.choice(_alike(phoneme))), float(random.uniform(0.3, 0.95))
        length = int(random.choice(config.phoneme_frames))
        spike = int(random.integers(0, length))
        frames += [(BLANK, BLANK, 1.0)] * spike
        frames.append((said, other, weight))
        frames += [(BLANK, BLANK, 1.0)] * (length - spike - 1)
        if draw[2] < config.insertion_rate:
            frames.append((int(random.integers(1, len(TABLE))), BLANK, 1.0))
    silence(config.max_silence_frames)
    frames += [(BLANK, BLANK, 1.0)] * (-len(frames) % stack or (0 if frames else stack))
    indices = np.array([(said, other) for said, other, _ in frames], np.int64)
    weights = np.array([(weight, 1 - weight) for *_, weight in frames], np.float32)
    return indices.reshape(-1, stack, 2), weights.reshape(-1, stack, 2)


def collate(
    texts: Sequence[str],
    phonemes: Sequence[Sequence[int]],
    stack: int,
    config: SimulationConfig,
    random: Generator,
) -> TextBatch:
    """A batch of texts and their simulated speech."""
    simulated = [simulate(row, stack, config, random) for row in phonemes]
    longest = max(len(indices) for indices, _ in simulated)
    indices = torch.zeros(len(texts), longest, stack, 2, dtype=torch.long)
    weights = torch.zeros(len(texts), longest, stack, 2)
    for row, (phonemes_of_row, weight) in enumerate(simulated):
        indices[row, : len(phonemes_of_row)] = torch.from_numpy(phonemes_of_row)
        weights[row, : len(phonemes_of_row)] = torch.from_numpy(weight)
    lengths = torch.tensor([len(phonemes_of_row) for phonemes_of_row, _ in simulated])
    return TextBatch(indices, weights, lengths, tuple(texts))


class TextSampler:
    """Batches of labeled texts, alike in length, in an order that a step number fixes."""

    def __init__(
        self,
        pairs: Sequence[tuple[str, Sequence[int]]],
        config: TextPretraining,
        stack: int,
        seed: int = 0,
    ) -> None:
        pairs = [(text, said) for text, said in pairs if len(said) <= config.max_phonemes]
        if not pairs:
            raise InputError("no text with a pronunciation to pre-train the language model on")
        self._config, self._stack = config, stack
        mean = float(np.mean(config.simulation.phoneme_frames))
        # Speech tokens, text tokens (an English word is about three phonemes, as is a token) and wording.
        costs = [len(said) * (mean / stack + 0.4) + 20 for _, said in pairs]
        self._epochs = Epochs(lambda _, random: pack(pairs, costs, config.batch_tokens, random), seed)

    def __call__(self, step: int, random: Generator) -> TextBatch:
        """The batch of the step ``step``, counted from 0 over all epochs."""
        rows = self._epochs.batch(step)
        texts, phonemes = [text for text, _ in rows], [said for _, said in rows]
        batch = collate(texts, phonemes, self._stack, self._config.simulation, random)
        if self._config.hints is None:
            return batch
        return replace(batch, hints=draw_hints(texts, self._config.hints, random))
