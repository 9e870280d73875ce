"""The language model run by vLLM, the rest by torch: for large models, and many streams on a GPU.

vLLM keeps keys and values by the content of what it has read, so that a growing text is read once: a slot
here is only the embeddings of its positions, and what follows them is one more request with one more of them.
Sessions, stable text, hints and guards are the engine's, as for every other network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nim4asr.audio.samples import Floats
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.runtime.network import Model
from nim4asr.runtime.torch_network import TorchNetwork
from nim4asr.runtime.vllm_process import WORKER, VllmProcess

# What vLLM did not tell of is this much less likely than the least likely that it told of, in nats.
_BEYOND = 10.0


@dataclass(frozen=True)
class VllmOptions:
    """How vLLM runs."""

    python: str
    """The Python of the environment with vLLM."""
    dtype: str = "bfloat16"
    longest: int = 4096
    """The most positions of a slot."""
    memory_share: float = 0.8
    """How much of the device's memory vLLM may take."""
    top: int = 64
    """So many of the likeliest next tokens are told of; beams and hints choose among them."""
    worker: Path = WORKER


class VllmNetwork(TorchNetwork):
    """Encoder, phoneme head and adaptor by torch; the language model by vLLM."""

    def __init__(self, checkpoint: Checkpoint, options: VllmOptions) -> None:
        super().__init__(checkpoint.network)
        llm = checkpoint.network.llm
        self._options = options
        self._vocabulary = int(llm.config.vocab_size)
        self._process = VllmProcess(options.python, next(llm.parameters()).device, options.worker)
        top = min(options.top, self._vocabulary)
        self._process.load(llm, options.dtype, options.longest, options.memory_share, top)

    def open_cache(self) -> "VllmCache":  # type: ignore[override]
        return VllmCache(self)

    def next_log_probs(self, prompts: Sequence[Floats]) -> Floats:
        """The log probabilities (B, vocabulary) of the token after each of ``prompts`` (N, D_llm)."""
        top = min(self._options.top, self._vocabulary)
        rows = [torch.from_numpy(prompt) for prompt in prompts]
        answer = self._process.ask_of(rows, {"do": "next", "top": top})
        found = np.empty((len(prompts), self._vocabulary), np.float32)
        for row, (tokens, log_probs) in zip(found, answer["rows"], strict=True):
            row[:] = min(log_probs) - _BEYOND
            row[tokens] = log_probs
        return found

    def close(self) -> None:
        """End vLLM."""
        self._process.close()


class VllmCache:
    """Slots that hold the embeddings of their positions; the keys and values are vLLM's."""

    def __init__(self, network: VllmNetwork) -> None:
        self._network = network
        self._empty = np.zeros((0, int(network.network.llm.config.hidden_size)), np.float32)
        self._slots: dict[int, Floats] = {}
        self._next = 0

    @property
    def slots_in_use(self) -> int:
        return len(self._slots)

    def allocate(self) -> int:
        slot, self._next = self._next, self._next + 1
        self._slots[slot] = self._empty
        return slot

    def free(self, slot: int) -> None:
        del self._slots[slot]

    def fork(self, slot: int) -> int:
        new = self.allocate()
        self._slots[new] = self._slots[slot]
        return new

    def length(self, slot: int) -> int:
        return len(self._slots[slot])

    def truncate(self, slot: int, length: int) -> None:
        if length > self.length(slot):
            raise ValueError(f"the slot holds {self.length(slot)} positions, fewer than {length}")
        self._slots[slot] = self._slots[slot][:length]

    def export(self, slot: int) -> Floats:
        return self._slots[slot]

    def load(self, slot: int, prefix: Floats) -> None:
        self._slots[slot] = prefix

    def append(self, slots: Sequence[int], embeddings: Sequence[Floats]) -> Floats:
        for slot, new in zip(slots, embeddings, strict=True):
            self._slots[slot] = np.concatenate([self._slots[slot], new])
        return self._network.next_log_probs([self._slots[slot] for slot in slots])


def vllm_model(checkpoint: Checkpoint, options: VllmOptions) -> Model:
    """The checkpoint, its language model run by vLLM. Raises ``InputError`` if that does not start."""
    assert checkpoint.tokenizer is not None
    return Model(VllmNetwork(checkpoint, options), checkpoint.normalization, checkpoint.tokenizer)
