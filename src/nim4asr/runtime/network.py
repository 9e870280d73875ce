"""What recognition asks of a network, whatever runs it. All arrays are numpy's, float32.

An encoder step with its state gives posteriors and speech embeddings; embeddings appended to slots of keys
and values give the log probabilities of the next token; tokens have embeddings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from nim4asr.acoustics.frontend import Frontend
from nim4asr.acoustics.normalization import Normalization
from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.prompt import tokens_before
from nim4asr.model.shapes import ChunkScheme
from nim4asr.model.tokenizer import Tokenizer


class Encoded(NamedTuple):
    """What the encoder made of some sound: log posteriors ``log_probs`` (T', phonemes), one a frame of the
    encoder, and ``speech`` embeddings of the language model (S, D_llm), one every few of them.
    """

    log_probs: Floats
    speech: Floats


class ChunkInput(NamedTuple):
    """A chunk's normalized ``features`` (T, bins), the window of its clock (``FrameClock.window``), of which
    ``frames`` encoder frames are speech, and the ``state`` that the chunk before it left.
    """

    features: Floats
    frames: int
    state: Any


class KvCache(Protocol):
    """Slots of the language model's keys and values, each of a length of its own."""

    @property
    def slots_in_use(self) -> int:
        """How many slots have been allocated and not freed."""

    def allocate(self) -> int:
        """An empty slot, for the caller alone until it is freed."""

    def free(self, slot: int) -> None:
        """Forget what the slot holds and leave it to others."""

    def fork(self, slot: int) -> int:
        """A new slot that holds what ``slot`` holds."""

    def length(self, slot: int) -> int:
        """How many positions the slot holds."""

    def truncate(self, slot: int, length: int) -> None:
        """Forget what the slot holds past ``length`` positions. Raises ``ValueError`` if it holds fewer."""

    def export(self, slot: int) -> Any:
        """What the slot holds, for ``load`` of any cache of the same network."""

    def load(self, slot: int, prefix: Any) -> None:
        """Let the slot hold ``prefix`` and nothing else."""

    def append(self, slots: Sequence[int], embeddings: Sequence[Floats]) -> Floats:
        """Append embeddings, (N, D_llm) for each of ``slots``; the log probabilities (slots, vocabulary) of
        the token after each.
        """


class Network(Protocol):
    """A network that can transcribe."""

    @property
    def config(self) -> Nim4Config:
        """The configuration of its blocks."""

    def encode(self, features: Sequence[Floats], chunks: ChunkScheme | None) -> list[Encoded]:
        """Encode whole segments of normalized features (T, bins), every frame seeing all of its own or, with
        ``chunks``, what it would see live.
        """

    def initial_state(self, chunks: ChunkScheme) -> Any:
        """The encoder's state of a stream that has heard nothing."""

    def encode_chunks(self, inputs: Sequence[ChunkInput]) -> list[tuple[Encoded, Any]]:
        """Encode the next chunk of several streams, all of one chunk scheme; each one's new state beside
        it.
        """

    def embed(self, tokens: Sequence[int]) -> Floats:
        """The embeddings (N, D_llm) of tokens."""

    def open_cache(self) -> KvCache:
        """A cache without any slots in use."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network ready to run, with what it needs around it."""

    network: Network
    normalization: Normalization
    tokenizer: Tokenizer

    @property
    def config(self) -> Nim4Config:
        return self.network.config

    @cached_property
    def frontend(self) -> Frontend:
        """What the encoder hears by."""
        return self.config.frontend(self.normalization)

    @cached_property
    def prompt_cache(self) -> Any:
        """Keys and values of the prompt's static text, which every segment begins with: a prefix cache."""
        cache = self.network.open_cache()
        slot = cache.allocate()
        cache.append([slot], [self.network.embed(tokens_before(self.tokenizer, self.config.prompt))])
        return cache.export(slot)


def check_complete(config: Nim4Config) -> None:
    """Raises ``InputError`` if the network is an encoder alone."""
    if config.llm is None or config.adaptor is None or config.phoneme_head is None:
        raise InputError(
            f"the model {config.name!r} holds an encoder without adaptor, phoneme head "
            "and language model; it can be trained further but cannot transcribe"
        )
