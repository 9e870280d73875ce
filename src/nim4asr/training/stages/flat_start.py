"""Before stage 1, flat start: a first idea of the phonemes, on single words, where there is little to train
on.

Trains everything in the encoder and the head, as stage 1 does. CTC alone may stay on a plateau for hours, on
which it says blank and the commonest phonemes, because it knows neither what nor when. Here the when is
given, roughly: the phonemes of an utterance lie evenly over its voiced frames, as hidden Markov models begin
(flat start),

    loss = mean over frames t of -log p(a_t | x),   a_t = y_floor(U (t - t0) / (t1 - t0))

with U phonemes y, t0 and t1 the ends of what is voiced by its energy, and a_t blank outside. A few minutes
are enough; then CTC finds the true places.
"""

from dataclasses import dataclass, field

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from nim4asr.data.batches import SpeechBatch
from nim4asr.model.encoders import Encoder
from nim4asr.model.phoneme_head import PhonemeHead
from nim4asr.model.shapes import EncoderConfig
from nim4asr.phonemes import BLANK
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms, Objective, freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.base import SpeechStage, Work

# Of the way from the quiet frames of an utterance (10 %) up to its loud ones (90 %), where the voice begins.
_QUIET, _LOUD, _VOICE = 0.1, 0.9, 0.35
_PADDING = -100


@dataclass(frozen=True)
class FlatStart(SpeechStage):
    """The first stage of an encoder that knows nothing; ``data`` should be words, of two seconds at most."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(30.0, 2.0))

    def objective(self, model: TrainableModel) -> "FlatAlignment":
        """Frame by frame; the encoder and the phoneme head are left trainable."""
        freeze_all_but(model.network, "encoder", "phoneme_head")
        assert model.network.phoneme_head is not None
        return FlatAlignment(model.network.encoder, model.network.phoneme_head)

    def work(self) -> Work:
        """The encoder and the phoneme head."""
        return Work(("encoder", "phoneme_head"))


class FlatAlignment(Objective[SpeechBatch]):
    """The equation above, a frame."""

    def __init__(self, encoder: Encoder, phoneme_head: PhonemeHead) -> None:
        super().__init__()
        self.encoder, self.phoneme_head = encoder, phoneme_head

    def forward(self, batch: SpeechBatch, random: Generator) -> LossTerms:
        """``frames``."""
        frames, lengths = self.encoder(batch.features[0], batch.lengths)
        log_probs = self.phoneme_head(frames).float()
        wanted = flat_alignment(batch, lengths.tolist(), log_probs.shape[1], self.encoder.config)
        loss = functional.nll_loss(log_probs.mT, wanted, ignore_index=_PADDING, reduction="sum")
        return {"frames": LossTerm(loss, lengths.sum())}


def flat_alignment(batch: SpeechBatch, lengths: list[int], frames: int, encoder: EncoderConfig) -> Tensor:
    """The alignment a, (B, ``frames``), of rows of ``lengths`` frames of the ``encoder``; -100 past their
    ends.
    """
    wanted = batch.targets.new_full((len(lengths), frames), _PADDING)
    rows = torch.split(batch.targets, batch.target_lengths.tolist())
    # The middle of what each encoder frame sees.
    middle = (encoder.stride + encoder.lookahead) // 2
    energies = batch.features[0, :, middle :: encoder.stride].mean(-1)
    for row, (length, phonemes) in enumerate(zip(lengths, rows, strict=True)):
        wanted[row, :length] = BLANK
        if not length or not len(phonemes):
            continue
        energy = energies[row, :length]
        quiet, loud = energy.quantile(_QUIET), energy.quantile(_LOUD)
        voiced = (energy >= quiet + _VOICE * (loud - quiet)).nonzero()[:, 0]
        first, end = int(voiced[0]), int(voiced[-1]) + 1
        places = torch.arange(end - first, device=phonemes.device) * len(phonemes) // (end - first)
        wanted[row, first:end] = phonemes[places]
    return wanted
