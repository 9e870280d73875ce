"""Stages 3 and 4: supervised fine-tuning on transcripts.

The loss of both is the cross entropy of the transcript, a token (``nim4asr.training.transcript_loss``).

- Stage 3, IA-SFT, trains the adaptor and the language model; encoder and phoneme head are frozen.
- Stage 4, late joint SFT, trains everything end to end. The phoneme head's CTC loss stays on with ``ctc_weight``,
  so that the encoder keeps to sounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import SpeechBatch
from nim4asr.model.encoder import ChunkScheme
from nim4asr.model.nim4 import Nim4
from nim4asr.phonemes import BLANK
from nim4asr.training.hints import HintSampling
from nim4asr.training.loop import LoopConfig
from nim4asr.training.transcript_loss import transcript_loss

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SftConfig:
    """``joint`` False is IA-SFT, True late joint SFT; ``hints`` says which prompts have some, if any."""

    loop: LoopConfig
    joint: bool
    batch_seconds: float = 64.0
    ctc_weight: float = 0.3
    full_context_share: float = 0.5
    empty_share: float = 0.03
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    hints: HintSampling | None = None


def freeze_for_sft(network: Nim4, joint: bool) -> None:
    """Make trainable what the stage trains, and nothing else."""
    network.requires_grad_(True)
    if not joint:
        assert network.phoneme_head is not None
        network.encoder.requires_grad_(False)
        network.phoneme_head.requires_grad_(False)


def sft_loss(
    network: Nim4,
    tokenizer: "PreTrainedTokenizerBase",
    batch: SpeechBatch,
    config: SftConfig,
    chunks: ChunkScheme | None = None,
    hints: Sequence[Sequence[str]] | None = None,
) -> dict[str, Tensor]:
    """The stage's loss and its parts; ``hints`` are those of each prompt."""
    assert network.adaptor is not None and network.phoneme_head is not None
    with torch.set_grad_enabled(config.joint):
        frames, lengths = network.encoder(batch.features[0], batch.lengths, chunks)
    speech, speech_lengths = network.adaptor(frames, lengths)
    transcript = transcript_loss(network, tokenizer, speech, speech_lengths, batch.texts, hints)
    if not config.joint:
        return {"loss": transcript}
    ctc = functional.ctc_loss(
        network.phoneme_head(frames).transpose(0, 1),
        batch.targets,
        lengths,
        batch.target_lengths,
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    ) / batch.target_lengths.sum().clamp(min=1)
    return {"loss": transcript + config.ctc_weight * ctc, "transcript": transcript, "ctc": ctc}
