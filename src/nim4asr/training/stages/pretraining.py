"""Stage 1, pre-training: the encoder and its phoneme head, by CR-CTC on phonemes.

Trains everything in the encoder and the head; there is nothing else yet.

Every utterance passes in ``views`` SpecAugment views. With two of them (Yao et al. 2024, CR-CTC)

    loss = ( (CTC_a + CTC_b) / 2
             + weight * sum over frames of (KL(sg(p_b) || p_a) + KL(sg(p_a) || p_b)) / 2 ) / N

where p are the frame-wise posteriors of the views a and b, sg stops the gradient, CTC is the sum of -log
p(phonemes | frames) over the utterances of a view, and N is the number of their phonemes: both terms are a
phoneme's. (Ours; the paper of CR-CTC sums both over an utterance and takes the mean over utterances.) The
chunks a frame may see are drawn for each batch: the whole utterance for half of them, else a chunk of 4
to 25 frames. In ``dual_mode`` (Yu et al. 2021) view a sees the whole utterance in every batch and view b
chunks, so that the live encoder learns from the one that hears everything, by the same equation.

An encoder that has heard much before this stage is to keep what it knows, and learn to do without the frames
to come. With ``distillation`` the frames x of every view are drawn to the frames y that the encoder made of
the whole utterance when the stage began:

    loss + distillation * sum |x - y|^2 / sum |y|^2,      sums over all frames of the batch

Few hours and small batches give a CTC gradient of much noise; ``ctc_share`` of it reaches the encoder, all of
it the head.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from nim4asr.data.batches import SpeechBatch
from nim4asr.data.frames import FrameBatch
from nim4asr.model.encoders import Encoder
from nim4asr.model.phoneme_head import PhonemeHead
from nim4asr.model.shapes import ChunkScheme
from nim4asr.phonemes import BLANK
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms, Objective, freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import HeardBatch, SpeechData, TrainingData
from nim4asr.training.stages.base import SpeechStage, Work

DEPLOYED_CHUNKS = ChunkScheme(size=16, left=4)


@dataclass(frozen=True)
class ChunkSampling:
    """The chunks that an encoder sees in training batches."""

    full_context_share: float = 0.5
    """The share of the batches that see whole utterances."""
    frames: tuple[int, int] = (4, 25)
    """The others see chunks of so many frames, drawn evenly from this range,"""
    left: tuple[int, int] = (1, 8)
    """with so many chunks before it."""

    def draw(self, random: Generator) -> ChunkScheme | None:
        """The chunks of one batch; None is the whole utterance."""
        return None if random.random() < self.full_context_share else self.draw_chunks(random)

    def draw_chunks(self, random: Generator) -> ChunkScheme:
        """The chunks of a batch that does not see whole utterances."""
        return ChunkScheme(
            size=int(random.integers(self.frames[0], self.frames[1] + 1)),
            left=int(random.integers(self.left[0], self.left[1] + 1)),
        )


@dataclass(frozen=True)
class Pretraining(SpeechStage):
    """Stage 1."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(120.0))
    views: int = 2
    """1 is plain CTC."""
    consistency_weight: float = 0.2
    """The weight of the divergence between two views."""
    more_time_masks: float = 2.5
    """Multiplies SpecAugment's time masks where there are two views."""
    chunks: ChunkSampling = field(default_factory=ChunkSampling)
    dual_mode: bool = False
    """Whether one view sees whole utterances and the other chunks; ``full_context_share`` is not asked."""
    distillation: float = 0.0
    """The weight of the frames' distance to those of the encoder as it was, which heard whole utterances."""
    ctc_share: float = 1.0
    """How much of the gradient of CTC and of the consistency reaches the encoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dual_mode and self.views != 2:
            raise ValueError("dual_mode needs two views, one of whole utterances and one of chunks")
        if self.distillation < 0 or not 0 <= self.ctc_share <= 1:
            raise ValueError("distillation must not be negative, and ctc_share must be from 0 to 1")

    def work(self) -> Work:
        """The encoder and the phoneme head, in every view."""
        return Work(("encoder", "phoneme_head"), self.views)

    def objective(self, model: TrainableModel) -> "CrCtc":
        """CR-CTC; the encoder and the phoneme head are left trainable."""
        freeze_all_but(model.network, "encoder", "phoneme_head")
        assert model.network.phoneme_head is not None
        return CrCtc(model.network.encoder, model.network.phoneme_head, self)

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], SpeechBatch]:
        """Utterances in ``views`` views."""
        return self.data.batches(data, self.views, self.more_time_masks if self.views > 1 else 1.0)

    def finish(self, model: TrainableModel) -> None:
        """Say in the model's configuration that it hears live speech in chunks, if it did not before."""
        config, in_chunks = model.network.config, self.dual_mode or self.chunks.full_context_share < 1
        if config.chunks is None and in_chunks:
            model.network.config = replace(config, chunks=DEPLOYED_CHUNKS)


class CrCtc(Objective[HeardBatch]):
    """The equation above, each part a phoneme."""

    def __init__(self, encoder: Encoder, phoneme_head: PhonemeHead, config: Pretraining) -> None:
        super().__init__()
        self.encoder, self.phoneme_head, self.config = encoder, phoneme_head, config
        # In a tuple it is no part of this module, and none of what a state holds.
        self._teacher: tuple[Encoder, ...] = ()
        if config.distillation:
            self._teacher = (copy.deepcopy(encoder).requires_grad_(False).eval(),)

    def forward(self, batch: HeardBatch, random: Generator) -> LossTerms:
        """``ctc``, with two views ``consistency``, and ``distillation`` where it has a weight."""
        frames, lengths = self._encode(batch, random)
        share = self.config.ctc_share
        terms = self._phoneme_terms(batch, share * frames + (1 - share) * frames.detach(), lengths)
        if self._teacher and isinstance(batch, SpeechBatch):
            terms["distillation"] = self._distance(batch, frames, lengths)
        return terms

    def _phoneme_terms(self, batch: HeardBatch, frames: Tensor, lengths: Tensor) -> dict[str, LossTerm]:
        views, size = batch.views, len(batch.texts)
        log_probs = self.phoneme_head(frames).float()
        phonemes = batch.target_lengths.sum()
        targets, target_lengths = batch.targets.repeat(views), batch.target_lengths.repeat(views)
        ctc = LossTerm(ctc_sum(log_probs, lengths, targets, target_lengths), views * phonemes)
        if views == 1:
            return {"ctc": ctc}
        first, second = log_probs[:size], log_probs[size:]
        valid = torch.arange(first.shape[1], device=first.device) < lengths[:size, None]
        divergence = functional.kl_div(first, second.detach(), reduction="none", log_target=True)
        divergence = divergence + functional.kl_div(second, first.detach(), reduction="none", log_target=True)
        consistency = (divergence.sum(-1) * valid).sum() / 2
        return {"ctc": ctc, "consistency": LossTerm(consistency, phonemes, self.config.consistency_weight)}

    def _distance(self, batch: SpeechBatch, frames: Tensor, lengths: Tensor) -> LossTerm:
        """Of ``frames`` (V * B, T', D) to the teacher's, a batch."""
        (teacher,) = self._teacher
        teacher.to(frames.device)
        with torch.no_grad():
            features, counts = batch.features.flatten(0, 1), batch.lengths.repeat(batch.views)
            wanted, _ = teacher(features, counts, None)
        valid = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
        away = ((frames - wanted).float().square().sum(-1) * valid).sum()
        size = (wanted.float().square().sum(-1) * valid).sum()
        return LossTerm(away / size, torch.ones(()), self.config.distillation)

    def _encode(self, batch: HeardBatch, random: Generator) -> tuple[Tensor, Tensor]:
        """The frames of all views, one after the other: (V * B, T', D), and how many each has."""
        chunks = self.config.chunks
        if isinstance(batch, FrameBatch):
            return batch.encoded(self.encoder)
        if not self.config.dual_mode:
            features, lengths = batch.features.flatten(0, 1), batch.lengths.repeat(len(batch.features))
            encoded: tuple[Tensor, Tensor] = self.encoder(features, lengths, chunks.draw(random))
            return encoded
        whole, lengths = self.encoder(batch.features[0], batch.lengths, None)
        chunked, _ = self.encoder(batch.features[1], batch.lengths, chunks.draw_chunks(random))
        return torch.cat([whole, chunked]), lengths.repeat(2)


def ctc_sum(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """-log p(targets | frames), summed over a batch of log posteriors (B, T, phonemes)."""
    loss: Tensor = functional.ctc_loss(
        log_probs.transpose(0, 1),
        targets,
        lengths,
        target_lengths,
        blank=BLANK,
        reduction="sum",
        # An utterance said faster than the encoder's frames cannot be aligned; it teaches nothing.
        zero_infinity=True,
    )
    return loss
