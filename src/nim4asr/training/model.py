"""The model under training: one object through all stages."""

from dataclasses import dataclass

from torch import nn

from nim4asr.data.keywords import KeywordSet
from nim4asr.model.encoders import Encoder
from nim4asr.model.nim4 import Nim4
from nim4asr.model.phoneme_head import PhonemeHead
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.phoneme_embedding import PhonemeEmbedding


class AcousticModel(nn.Module):
    """The encoder and its phoneme head: what pre-training trains, and what a snapshot holds."""

    def __init__(self, encoder: Encoder, phoneme_head: PhonemeHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.phoneme_head = phoneme_head


@dataclass(frozen=True, eq=False)
class TrainableModel:
    """A network, and what its stages need beside it."""

    network: Nim4
    tokenizer: Tokenizer
    phoneme_embedding: PhonemeEmbedding | None = None
    """What text pre-training reads in the place of speech; None for a language model that is pre-trained."""
    keywords: KeywordSet | None = None
    """The keywords of the training transcripts."""

    def acoustic(self) -> AcousticModel:
        """The encoder and the phoneme head of the network, not copies of them."""
        assert self.network.phoneme_head is not None
        return AcousticModel(self.network.encoder, self.network.phoneme_head)
