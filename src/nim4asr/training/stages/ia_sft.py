"""Stage 3, iterative asynchronous SFT: the language model learns to read what the encoder hears.

    loss = -mean over transcript tokens of log p(token | prompt with the adaptor's output, tokens before)

Trains the adaptor and the language model; the encoder is frozen, and exchanged for a newer snapshot of
pre-training whenever that has drifted away (``nim4asr.training.async_sft.schedule``). A frozen encoder cannot
be pulled towards text, and a language model that keeps meeting better ones learns not to lean on the faults
of any.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from numpy.random import Generator

from nim4asr.data.keywords import KeywordSet
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerms, Objective
from nim4asr.training.lora import LoraConfig
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import HeardBatch, SpeechData
from nim4asr.training.stages.base import SpeechStage, Work, leave_trainable, trained_with
from nim4asr.training.stages.hints import HintSampling, draw_hints
from nim4asr.training.stages.pretraining import ChunkSampling
from nim4asr.training.stages.transcript_loss import transcript_loss


@dataclass(frozen=True)
class IaSft(SpeechStage):
    """Stage 3. ``hints`` says which prompts have some; the paper's have none before context SFT. With
    ``lora``, corrections of the language model are trained in the place of all of it.
    """

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(empty_share=0.03))
    chunks: ChunkSampling = field(default_factory=ChunkSampling)
    hints: HintSampling | None = None
    lora: LoraConfig | None = None

    def objective(self, model: TrainableModel) -> "FrozenEncoderLoss":
        """The loss above; adaptor and language model are left trainable."""
        leave_trainable(model.network, self.work())
        return FrozenEncoderLoss(model, self.chunks, self.hints)

    def work(self) -> Work:
        """The adaptor and the language model."""
        return Work(trained_with("adaptor", lora=self.lora), 1, True, self.hints is not None, self.lora)


class FrozenEncoderLoss(Objective[HeardBatch]):
    """The equation above, a token."""

    def __init__(
        self,
        model: TrainableModel,
        chunks: ChunkSampling,
        hints: HintSampling | None,
        keywords: KeywordSet | None = None,
    ) -> None:
        super().__init__()
        self.network, self.chunks = model.network, chunks
        self._tokenizer, self._hints, self._keywords = model.tokenizer, hints, keywords

    def forward(self, batch: HeardBatch, random: Generator) -> LossTerms:
        """``transcript``."""
        assert self.network.adaptor is not None
        with torch.no_grad():
            frames, lengths = batch.encoded(self.network.encoder, self.chunks.draw(random))
        speech, speech_lengths = self.network.adaptor(frames, lengths)
        hints = self.hints_of(batch.texts, random)
        return {
            "transcript": transcript_loss(
                self.network, self._tokenizer, speech, speech_lengths, batch.texts, hints
            )
        }

    def hints_of(self, texts: Sequence[str], random: Generator) -> Sequence[Sequence[str]] | None:
        """The hints of each prompt, or None where the stage has none."""
        return None if self._hints is None else draw_hints(texts, self._hints, random, self._keywords)
