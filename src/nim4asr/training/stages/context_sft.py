"""Stage 5, context SFT: the language model learns what hints are worth.

The loss and what is trained are late joint SFT's. What differs is the prompt: it holds keywords of the
transcript and others of identical or near sound that were not said (``nim4asr.training.stages.hints``), from
a keyword set of the training transcripts (``nim4asr.data.keywords``). Long utterances come more often, for
they hold more keywords.
"""

from dataclasses import dataclass, field

from nim4asr.errors import InputError
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.lora import LoraConfig
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.base import SpeechStage, Work, leave_trainable, trained_with
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.joint_sft import JointLoss
from nim4asr.training.stages.pretraining import ChunkSampling


@dataclass(frozen=True)
class ContextSft(SpeechStage):
    """Stage 5. With ``lora``, corrections of the language model are trained in the place of all of it."""

    loop: LoopConfig
    data: SpeechData = field(
        default_factory=lambda: SpeechData(empty_share=0.03, long_s=6.0, long_weight=2.0)
    )
    ctc_weight: float = 0.3
    chunks: ChunkSampling = field(default_factory=ChunkSampling)
    hints: HintSampling = field(default_factory=HintSampling)
    lora: LoraConfig | None = None

    def objective(self, model: TrainableModel) -> JointLoss:
        """The loss of late joint SFT; everything is left trainable.

        Raises ``InputError`` if the model has no keywords.
        """
        if model.keywords is None or not len(model.keywords):
            raise InputError("context SFT needs keywords, and the transcripts gave none")
        leave_trainable(model.network, self.work())
        return JointLoss(model, self.ctc_weight, self.chunks, self.hints, model.keywords)

    def work(self) -> Work:
        """Everything."""
        trained = trained_with("encoder", "phoneme_head", "adaptor", lora=self.lora)
        return Work(trained, 1, True, True, self.lora)
