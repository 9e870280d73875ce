"""Stage 4, late joint SFT: everything learns together, once every part knows its role.

    loss = -mean log p(transcript token | prompt, tokens before) + ctc_weight * CTC of the phonemes, a phoneme

Trains everything. The phoneme head's CTC loss stays on (ours: the paper does not say), so that the encoder
keeps to sounds; how far it drifts from the pre-trained one is logged as CKA.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from numpy.random import Generator

from nim4asr.data.batches import SpeechBatch
from nim4asr.data.keywords import KeywordSet
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms, freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData, TrainingData
from nim4asr.training.stages.base import SingleStage
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.ia_sft import FrozenEncoderLoss
from nim4asr.training.stages.pretraining import ChunkSampling, ctc_sum
from nim4asr.training.stages.transcript_loss import transcript_loss


@dataclass(frozen=True)
class JointSft(SingleStage):
    """Stage 4."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(empty_share=0.03))
    ctc_weight: float = 0.3
    chunks: ChunkSampling = field(default_factory=ChunkSampling)
    hints: HintSampling | None = None

    def objective(self, model: TrainableModel) -> "JointLoss":
        """The loss above; everything is left trainable."""
        freeze_all_but(model.network, "encoder", "phoneme_head", "adaptor", "llm")
        return JointLoss(model, self.ctc_weight, self.chunks, self.hints)

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], SpeechBatch]:
        """Utterances and their transcripts."""
        return self.data.batches(data)


class JointLoss(FrozenEncoderLoss):
    """The equation above."""

    def __init__(
        self,
        model: TrainableModel,
        ctc_weight: float,
        chunks: ChunkSampling,
        hints: HintSampling | None,
        keywords: KeywordSet | None = None,
    ) -> None:
        super().__init__(model, chunks, hints, keywords)
        self.ctc_weight = ctc_weight

    def forward(self, batch: SpeechBatch, random: Generator) -> LossTerms:
        """``transcript`` and ``ctc``."""
        network = self.network
        assert network.adaptor is not None and network.phoneme_head is not None
        frames, lengths = network.encoder(batch.features[0], batch.lengths, self.chunks.draw(random))
        speech, speech_lengths = network.adaptor(frames, lengths)
        hints = self.hints_of(batch.texts, random)
        transcript = transcript_loss(network, self._tokenizer, speech, speech_lengths, batch.texts, hints)
        log_probs = network.phoneme_head(frames).float()
        ctc = ctc_sum(log_probs, lengths, batch.targets, batch.target_lengths)
        return {"transcript": transcript, "ctc": LossTerm(ctc, batch.target_lengths.sum(), self.ctc_weight)}
