"""Stage 2, alignment: the adaptor learns the language model's embedding space.

Trains the adaptor alone; the encoder, the phoneme head and the language model are frozen.

The paper trains it by the transcript's cross entropy, which is ``weight`` 0 here. Where the language model has read
simulated phonemes (``nim4asr.training.text_pretraining``), its embeddings E say what each speech token should be,
and the adaptor learns that directly, with no pass through the language model:

    loss = |a - e|^2 / mean |e|^2,   e = sum_k sum_p p_k(p) E[k, p]

with the adaptor's output a and the phoneme head's posteriors p_k of the k-th frame of the token.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.batches import SpeechBatch
from nim4asr.model.encoder import ChunkScheme
from nim4asr.model.nim4 import Nim4
from nim4asr.training.loop import LoopConfig
from nim4asr.training.text_pretraining import PhonemeSpeech
from nim4asr.training.transcript_loss import transcript_loss

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class AlignmentConfig:
    """``imitate`` trains towards E rather than towards the transcript."""

    loop: LoopConfig
    batch_seconds: float = 120.0
    imitate: bool = True
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


def freeze_for_alignment(network: Nim4) -> None:
    """Leave the adaptor alone trainable."""
    network.requires_grad_(False)
    assert network.adaptor is not None
    network.adaptor.requires_grad_(True)


def alignment_loss(
    network: Nim4,
    tokenizer: "PreTrainedTokenizerBase",
    batch: SpeechBatch,
    phonemes: PhonemeSpeech | None,
    chunks: ChunkScheme | None = None,
) -> dict[str, Tensor]:
    """The loss above if ``phonemes`` holds E, else the transcript's cross entropy, a token."""
    assert network.adaptor is not None and network.phoneme_head is not None
    with torch.no_grad():
        frames, lengths = network.encoder(batch.features[0], batch.lengths, chunks)
    speech, speech_lengths = network.adaptor(frames, lengths)
    if phonemes is None:
        loss = transcript_loss(network, tokenizer, speech, speech_lengths, batch.texts)
        return {"loss": loss}
    with torch.no_grad():
        whole = speech.shape[1] * phonemes.stack
        wanted = phonemes.embed_posteriors(network.phoneme_head(frames[:, :whole]).exp())
    index = torch.arange(speech.shape[1], device=speech.device)
    valid = (index < speech_lengths[:, None])[..., None]
    error = ((speech - wanted).square() * valid).sum()
    return {"loss": error / (wanted.square() * valid).sum()}
