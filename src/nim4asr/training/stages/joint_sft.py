"""Stage 4, late joint SFT: everything learns together, once every part knows its role.

    loss = -mean log p(transcript token | prompt, tokens before) + ctc_weight * CTC of the phonemes, a phoneme

Trains everything. The phoneme head's CTC loss stays on (ours: the paper does not say), so that the encoder
keeps to sounds; how far it drifts from the pre-trained one is logged as CKA.
"""

from dataclasses import dataclass, field

from numpy.random import Generator

from nim4asr.data.keywords import KeywordSet
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms
from nim4asr.training.lora import LoraConfig
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import HeardBatch, SpeechData
from nim4asr.training.stages.base import SpeechStage, Work, leave_trainable, trained_with
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.ia_sft import FrozenEncoderLoss
from nim4asr.training.stages.pretraining import ChunkSampling, ctc_sum
from nim4asr.training.stages.transcript_loss import transcript_loss


@dataclass(frozen=True)
class JointSft(SpeechStage):
    """Stage 4. With ``lora``, corrections of the language model are trained in the place of all of it."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(empty_share=0.03))
    ctc_weight: float = 0.3
    chunks: ChunkSampling = field(default_factory=ChunkSampling)
    hints: HintSampling | None = None
    lora: LoraConfig | None = None

    def objective(self, model: TrainableModel) -> "JointLoss":
        """The loss above; everything is left trainable."""
        leave_trainable(model.network, self.work())
        return JointLoss(model, self.ctc_weight, self.chunks, self.hints)

    def work(self) -> Work:
        """Everything."""
        trained = trained_with("encoder", "phoneme_head", "adaptor", lora=self.lora)
        return Work(trained, 1, True, self.hints is not None, self.lora)


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

    def forward(self, batch: HeardBatch, random: Generator) -> LossTerms:
        """``transcript`` and ``ctc``."""
        network = self.network
        assert network.adaptor is not None and network.phoneme_head is not None
        frames, lengths = batch.encoded(network.encoder, self.chunks.draw(random))
        speech, speech_lengths = network.adaptor(frames, lengths)
        hints = self.hints_of(batch.texts, random)
        transcript = transcript_loss(network, self._tokenizer, speech, speech_lengths, batch.texts, hints)
        log_probs = network.phoneme_head(frames).float()
        ctc = ctc_sum(log_probs, lengths, batch.targets, batch.target_lengths)
        return {"transcript": transcript, "ctc": LossTerm(ctc, batch.target_lengths.sum(), self.ctc_weight)}
