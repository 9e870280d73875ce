"""Stage 5, context SFT: the language model learns what hints are worth.

The loss and what is trained are late joint SFT's. What differs is the prompt: it holds keywords of the
transcript and others of identical or near sound that were not said (``nim4asr.training.stages.hints``), from
a keyword set of the training transcripts (``nim4asr.data.keywords``). Long utterances come more often, for
they hold more keywords.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from numpy.random import Generator

from nim4asr.data.batches import SpeechBatch
from nim4asr.errors import InputError
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData, TrainingData
from nim4asr.training.stages.base import SingleStage
from nim4asr.training.stages.hints import HintSampling
from nim4asr.training.stages.joint_sft import JointLoss
from nim4asr.training.stages.pretraining import ChunkSampling


@dataclass(frozen=True)
class ContextSft(SingleStage):
    """Stage 5."""

    loop: LoopConfig
    data: SpeechData = field(
        default_factory=lambda: SpeechData(empty_share=0.03, long_s=6.0, long_weight=2.0)
    )
    ctc_weight: float = 0.3
    chunks: ChunkSampling = field(default_factory=ChunkSampling)
    hints: HintSampling = field(default_factory=HintSampling)

    def objective(self, model: TrainableModel) -> JointLoss:
        """The loss of late joint SFT; everything is left trainable.

        Raises ``InputError`` if the model has no keywords.
        """
        freeze_all_but(model.network, "encoder", "phoneme_head", "adaptor", "llm")
        if model.keywords is None or not len(model.keywords):
            raise InputError("context SFT needs keywords, and the transcripts gave none")
        return JointLoss(model, self.ctc_weight, self.chunks, self.hints, model.keywords)

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], SpeechBatch]:
        """Utterances and their transcripts, long ones more often."""
        return self.data.batches(data)
