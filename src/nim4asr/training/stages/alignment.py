"""Stage 2, alignment: the adaptor learns the language model's embedding space.

Trains the adaptor alone; the encoder, the phoneme head and the language model are frozen.

The paper trains it by the transcript's cross entropy, which is ``imitate`` False here. Where the language
model has read simulated phonemes (``nim4asr.training.stages.text_pretraining``), its embeddings E say what
each speech token should be, and the adaptor learns that directly, with no pass through the language model:

    loss = |a - e|^2 / mean |e|^2,   e = sum_k sum_p p_k(p) E[k, p]

with the adaptor's output a and the phoneme head's posteriors p_k of the k-th frame of the token.
"""

from dataclasses import dataclass, field

import torch
from numpy.random import Generator
from torch import Tensor

from nim4asr.errors import InputError
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms, Objective, freeze_all_but
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import HeardBatch, SpeechData
from nim4asr.training.stages.base import SpeechStage, Work
from nim4asr.training.stages.pretraining import ChunkSampling
from nim4asr.training.stages.transcript_loss import transcript_loss


@dataclass(frozen=True)
class Alignment(SpeechStage):
    """Stage 2. ``imitate`` trains towards E rather than towards the transcript."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(120.0))
    imitate: bool = False
    chunks: ChunkSampling = field(default_factory=ChunkSampling)

    @property
    def needs_phoneme_embedding(self) -> bool:
        """For imitation."""
        return self.imitate

    def objective(self, model: TrainableModel) -> "AdaptorLoss":
        """The loss above; the adaptor is left trainable. Raises ``InputError`` if there is no E to
        imitate.
        """
        freeze_all_but(model.network, "adaptor")
        if self.imitate and model.phoneme_embedding is None:
            raise InputError("alignment cannot imitate: there was no text pre-training; set imitate=False")
        return AdaptorLoss(model, self)

    def work(self) -> Work:
        """The adaptor, behind the language model unless it imitates."""
        return Work(("adaptor",), writes=not self.imitate)


class AdaptorLoss(Objective[HeardBatch]):
    """The equation above, or the transcript's cross entropy, a token."""

    def __init__(self, model: TrainableModel, config: Alignment) -> None:
        super().__init__()
        self.network, self.config = model.network, config
        self._tokenizer = model.tokenizer
        # Frozen, and no part of the stage's state.
        self._phoneme_embedding = (model.phoneme_embedding,) if config.imitate else ()

    def forward(self, batch: HeardBatch, random: Generator) -> LossTerms:
        """``distance`` or ``transcript``."""
        network = self.network
        assert network.adaptor is not None and network.phoneme_head is not None
        with torch.no_grad():
            frames, lengths = batch.encoded(network.encoder, self.config.chunks.draw(random))
        speech, speech_lengths = network.adaptor(frames, lengths)
        if not self._phoneme_embedding:
            return {
                "transcript": transcript_loss(network, self._tokenizer, speech, speech_lengths, batch.texts)
            }
        (embedding,) = self._phoneme_embedding
        assert embedding is not None
        with torch.no_grad():
            whole = speech.shape[1] * embedding.stack
            wanted: Tensor = embedding.embed_posteriors(network.phoneme_head(frames[:, :whole]).exp())
        index = torch.arange(speech.shape[1], device=speech.device)
        valid = (index < speech_lengths[:, None])[..., None]
        error = ((speech - wanted).square() * valid).sum()
        return {"distance": LossTerm(error, float((wanted.square() * valid).sum()))}
