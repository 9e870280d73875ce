"""Stage 1, pre-training: the encoder and its phoneme head, by CR-CTC on phonemes.

Trains everything in the encoder and the head; there is nothing else yet.

Every utterance passes in ``views`` SpecAugment views. With two of them (Yao et al. 2024, CR-CTC)

    loss = mean of the views' CTC losses + weight * mean over frames of
           (KL(sg(p_b) || p_a) + KL(sg(p_a) || p_b)) / 2

where p are the frame-wise posteriors of the views a and b and sg stops the gradient. The chunks a frame may see are
drawn anew for each batch: the whole utterance for half of them, else a chunk of 4 to 25 frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import Collator, SpeechBatch
from nim4asr.data.store import FeatureStore
from nim4asr.evaluation.error_rate import ErrorCount
from nim4asr.model.encoder import ChunkScheme, Encoder
from nim4asr.model.phoneme_head import PhonemeHead
from nim4asr.phonemes import BLANK, TABLE
from nim4asr.recognition.ctc import greedy_path
from nim4asr.training.loop import LoopConfig

DEPLOYED_CHUNKS = ChunkScheme(size=16, left=4)


@dataclass(frozen=True)
class PretrainingConfig:
    """``views`` 1 is plain CTC; ``full_context_share`` of the batches see whole utterances."""

    loop: LoopConfig
    batch_seconds: float = 120.0
    views: int = 2
    consistency_weight: float = 0.2
    more_time_masks: float = 2.5
    full_context_share: float = 0.5
    chunk_frames: tuple[int, int] = (4, 25)
    left_chunks: tuple[int, int] = (1, 8)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


class AcousticModel(nn.Module):
    """The encoder and its phoneme head, the part of the network that stage 1 trains."""

    def __init__(self, encoder: Encoder, phoneme_head: PhonemeHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.phoneme_head = phoneme_head

    def forward(
        self, features: Tensor, lengths: Tensor, chunks: ChunkScheme | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log posteriors (B, T', phonemes) and their lengths."""
        frames, lengths = self.encoder(features, lengths, chunks)
        return self.phoneme_head(frames), lengths


def draw_chunks(config: PretrainingConfig, random: Generator) -> ChunkScheme | None:
    """The chunks of one batch; None is the whole utterance."""
    if random.random() < config.full_context_share:
        return None
    return ChunkScheme(
        size=int(random.integers(config.chunk_frames[0], config.chunk_frames[1] + 1)),
        left=int(random.integers(config.left_chunks[0], config.left_chunks[1] + 1)),
    )


def pretraining_loss(
    model: AcousticModel, batch: SpeechBatch, config: PretrainingConfig, random: Generator
) -> Mapping[str, Tensor]:
    """The loss above, a phoneme, and its parts."""
    views, size = batch.features.shape[:2]
    log_probs, lengths = model(
        batch.features.flatten(0, 1), batch.lengths.repeat(views), draw_chunks(config, random)
    )
    ctc = functional.ctc_loss(
        log_probs.transpose(0, 1),
        batch.targets.repeat(views),
        lengths,
        batch.target_lengths.repeat(views),
        blank=BLANK,
        reduction="sum",
        # An utterance said faster than the encoder's frames cannot be aligned; it teaches nothing.
        zero_infinity=True,
    ) / (views * batch.target_lengths.sum())
    if views == 1:
        return {"loss": ctc}
    first, second = log_probs[:size], log_probs[size:]
    valid = torch.arange(first.shape[1], device=first.device) < lengths[:size, None]
    divergence = functional.kl_div(first, second.detach(), reduction="none", log_target=True)
    divergence = divergence + functional.kl_div(second, first.detach(), reduction="none", log_target=True)
    consistency = (divergence.sum(-1) * valid).sum() / 2 / batch.target_lengths.sum()
    loss = ctc + config.consistency_weight * consistency
    return {"loss": loss, "ctc": ctc, "consistency": consistency}


@torch.no_grad()
def phoneme_errors(
    model: AcousticModel,
    store: FeatureStore,
    collator: Collator,
    random: Generator,
    most: int = 200,
    chunks: ChunkScheme | None = None,
) -> ErrorCount:
    """Phoneme errors of the greedy path over the first ``most`` utterances of a store."""
    errors = ErrorCount()
    entries = store.entries[:: max(1, len(store.entries) // most)][:most]
    for start in range(0, len(entries), 16):
        batch = collator([(store, entry) for entry in entries[start : start + 16]], random)
        log_probs, lengths = model(batch.features[0], batch.lengths, chunks)
        best = log_probs.argmax(dim=-1)
        for row, entry in enumerate(entries[start : start + 16]):
            heard = greedy_path(best[row, : int(lengths[row])].tolist())
            errors += ErrorCount.between(TABLE.decode(entry.phonemes), TABLE.decode(heard))
    return errors
