"""The last stage, the phoneme head: it learns to read the encoder that all the others have left behind.

    loss = that of stage 1 (``nim4asr.training.stages.pretraining``), CR-CTC on two views

Trains the head alone, which starts from pre-training's, after RL and on the data of stage 1. The encoder is
frozen. The head is what hotwords are found by, words get their times from and a search of several beams is
guided by, so all of these change with it; a greedy text without hints does not.

From the paper: objective, data and learning rate are those of stage 1. Ours: so are its chunks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from numpy.random import Generator

from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import HeardBatch, SpeechData, TrainingData
from nim4asr.training.stages.base import SpeechStage, Work
from nim4asr.training.stages.pretraining import ChunkSampling, CrCtc, Pretraining


@dataclass(frozen=True)
class PhonemeHeadTuning(SpeechStage):
    """The phoneme head's own stage; its settings are those of ``Pretraining``. Stored frames come in one view
    a batch.
    """

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(120.0))
    views: int = 2
    consistency_weight: float = 0.2
    more_time_masks: float = 2.5
    chunks: ChunkSampling = field(default_factory=ChunkSampling)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.frames is not None and self.views != 1:
            raise ValueError(f"stored frames come in one view a batch, not {self.views}")

    def work(self) -> Work:
        """The phoneme head, on every view of the encoder."""
        return Work(("phoneme_head",), self.views)

    def objective(self, model: TrainableModel) -> CrCtc:
        """CR-CTC; the phoneme head is left trainable."""
        objective = self._pretraining().objective(model)
        freeze_all_but(model.network, "phoneme_head")
        return objective

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], HeardBatch]:
        """Utterances in ``views`` views."""
        stored = self.data.frames is not None
        return super().batches(data, model) if stored else self._pretraining().batches(data, model)

    def _pretraining(self) -> Pretraining:
        return Pretraining(
            self.loop,
            replace(self.data, frames=None),
            self.views,
            self.consistency_weight,
            self.more_time_masks,
            self.chunks,
        )
