"""A stage on speech for a language model that is still learning its language: speech and text in turns.

    loss = loss of the stage on a batch of speech, or of text pre-training on a batch of text

The paper's language model comes with its language. nano's learns it here, from texts, of which there are far
more than transcripts. Trains and freezes what the stage does, and trains E.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from numpy.random import Generator, default_rng

from nim4asr.data.batches import SpeechBatch
from nim4asr.progress import ProgressReporter
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms, Objective
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import TrainingData
from nim4asr.training.stages.base import SingleStage
from nim4asr.training.stages.ia_sft import FrozenEncoderLoss, IaSft
from nim4asr.training.stages.joint_sft import JointLoss, JointSft
from nim4asr.training.stages.text_pretraining import SimulatedSpeechLoss, TextBatch, TextPretraining

MixedBatch = SpeechBatch | TextBatch


@dataclass(frozen=True)
class MixedText(SingleStage):
    """A stage on ``speech`` in turns with text, which a ``text_share`` of the batches are. The loop is
    ``speech``'s.
    """

    speech: IaSft | JointSft
    text: TextPretraining
    text_share: float = 0.5
    loop: LoopConfig = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loop", self.speech.loop)

    @property
    def needs_phoneme_embedding(self) -> bool:
        """For the text."""
        return True

    @property
    def needs_peft(self) -> bool:
        """As the stage on speech does."""
        return self.speech.needs_peft

    def prepare(
        self, data: TrainingData, model: TrainableModel, device: torch.device, progress: ProgressReporter
    ) -> None:
        """What the stage on speech needs."""
        self.speech.prepare(data, model, device, progress)

    def finish(self, model: TrainableModel) -> None:
        """As the stage on speech does."""
        self.speech.finish(model)

    def objective(self, model: TrainableModel) -> "MixedObjective":
        """Either loss; what the stage trains is left trainable, and E. Raises ``InputError`` if there is no
        E.
        """
        text = self.text.objective(model)
        # The last word on what of the network is frozen is the stage's.
        speech = self.speech.objective(model)
        text.phoneme_embedding.requires_grad_(True)
        return MixedObjective(speech, text)

    def batches(self, data: TrainingData, model: TrainableModel) -> Callable[[int, Generator], MixedBatch]:
        """Speech or text, by the batch's number."""
        return partial(
            _draw,
            self.speech.batches(data, model),
            self.text.batches(data, model),
            self.text_share,
            self.loop.seed,
        )


def _draw(
    speech: Callable[[int, Generator], SpeechBatch],
    text: Callable[[int, Generator], TextBatch],
    share: float,
    seed: int,
    number: int,
    random: Generator,
) -> MixedBatch:
    if default_rng([seed, number, 3]).random() < share:
        return text(number, random)
    return speech(number, random)


class MixedObjective(Objective[MixedBatch]):
    """The loss of whichever kind a batch is."""

    def __init__(self, speech: FrozenEncoderLoss, text: SimulatedSpeechLoss) -> None:
        super().__init__()
        self.speech, self.text = speech, text

    def forward(self, batch: MixedBatch, random: Generator) -> LossTerms:
        """``speech`` and ``text``, and ``ctc`` where the stage has it; what the batch does not hold is
        nothing.
        """
        is_text = isinstance(batch, TextBatch)
        losses = dict((self.text if is_text else self.speech)(batch, random))
        own = losses.pop("transcript")
        if torch.distributed.is_initialized():
            # Every process must have a gradient for every weight, whichever kind its batch was.
            touched = sum(p.sum() for p in self.parameters() if p.requires_grad)
            own = LossTerm(own.total + 0.0 * touched, own.count)
        nothing = LossTerm(own.total.detach() * 0.0, 0.0)
        parts = {"speech": nothing if is_text else own, "text": own if is_text else nothing}
        if isinstance(self.speech, JointLoss):
            parts["ctc"] = losses.get("ctc", replace(nothing, weight=self.speech.ctc_weight))
        return parts
