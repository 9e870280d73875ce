"""The last stage, the phoneme head: it learns to read the encoder that all the others have left behind.

    loss = CTC of the phonemes, a phoneme

Trains the head alone, which starts from pre-training's; the encoder is frozen, so hotword retrieval gets better and
nothing else changes. It runs after RL, on the data of stage 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from numpy.random import Generator

from nim4asr.data.batches import SpeechBatch
from nim4asr.model.nim4 import Nim4
from nim4asr.training.loop import LoopConfig
from nim4asr.training.objective import Losses, Objective, Part, freeze_all_but
from nim4asr.training.pretraining import ChunkSampling, ctc_sum
from nim4asr.training.speech import SpeechData, TrainingData
from nim4asr.training.stage import Learner


@dataclass(frozen=True)
class PhonemeHeadTuning:
    """The phoneme head's own stage."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(120.0))
    chunks: ChunkSampling = field(default_factory=ChunkSampling)

    def objective(self, learner: Learner) -> "HeadLoss":
        """The loss above; the phoneme head is left trainable."""
        freeze_all_but(learner.network, "phoneme_head")
        return HeadLoss(learner.network, self.chunks)

    def batches(self, data: TrainingData, learner: Learner) -> Callable[[int, Generator], SpeechBatch]:
        """Utterances and their phonemes."""
        return self.data.batches(data)


class HeadLoss(Objective[SpeechBatch]):
    """The equation above."""

    def __init__(self, network: Nim4, chunks: ChunkSampling) -> None:
        super().__init__()
        self.network, self.chunks = network, chunks

    def forward(self, batch: SpeechBatch, random: Generator) -> Losses:
        """``ctc``."""
        assert self.network.phoneme_head is not None
        with torch.no_grad():
            frames, lengths = self.network.encoder(batch.features[0], batch.lengths, self.chunks.draw(random))
        log_probs = self.network.phoneme_head(frames).float()
        ctc = ctc_sum(log_probs, lengths, batch.targets, batch.target_lengths)
        return {"ctc": Part(ctc, batch.target_lengths.sum())}
