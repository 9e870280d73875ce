"""Roll-outs by vLLM, which samples many times faster than a loop over Hugging Face's forward.

It runs in a process of its own (``nim4asr.runtime.vllm_process``), which gets prompt embeddings and, now and
then, the language model's weights, and answers with tokens and their log probabilities. Its weights are as
old as the last ``refresh``, which is what GRPO's ratio and its clip are for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nim4asr.model.nim4 import Prompt
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.runtime.vllm_process import WORKER, VllmProcess
from nim4asr.training.rollouts.sampling import Draw


@dataclass(frozen=True)
class VllmConfig:
    """``python`` is that of the environment with vLLM; the weights are sent every ``refresh_every`` batches.

    ``memory_share`` is how much of the device's memory vLLM may take, beside training.
    """

    python: str
    refresh_every: int = 8
    memory_share: float = 0.3
    dtype: str = "bfloat16"
    longest: int = 2048
    worker: Path = WORKER

    def __post_init__(self) -> None:
        if self.refresh_every < 1:
            raise ValueError(
                f"the weights must be sent every batch or more seldom, not every {self.refresh_every}"
            )


@dataclass(frozen=True)
class Sampled:
    """Token ids of transcripts, one prompt's after the other's, and the log probabilities they were drawn
    with.
    """

    written: list[list[int]]
    log_probs: list[list[float]]


class VllmEngine:
    """A running vLLM, on the ``device`` that it shares with training.

    Raises ``InputError`` if it does not start or fails, with what it said last.
    """

    def __init__(self, config: VllmConfig, device: torch.device | None = None) -> None:
        self._config = config
        self._process = VllmProcess(config.python, device, config.worker)

    def refresh(self, llm: Any) -> None:
        """Sample with the weights of ``llm``, a Hugging Face causal language model, from now on."""
        config = self._config
        self._process.load(llm, config.dtype, config.longest, config.memory_share)

    def sample(
        self,
        tokenizer: Tokenizer,
        prompt: Prompt,
        seconds: Sequence[float],
        draw: Draw,
    ) -> Sampled:
        """As ``nim4asr.training.rollouts.sampling.sample``, with the weights of the last ``refresh``."""
        rows = [
            embeddings[mask.bool()]
            for embeddings, mask in zip(prompt.embeddings, prompt.attention_mask, strict=True)
        ]
        answer = self._process.ask_of(
            rows,
            {
                "do": "sample",
                "budgets": [draw.guards.max_new_tokens(length) for length in seconds],
                "samples": draw.samples,
                "temperature": draw.temperature,
                "seed": draw.seed,
                "end": tokenizer.end,
            },
        )
        return Sampled(answer["written"], answer["log_probs"])

    def close(self) -> None:
        """End the engine."""
        self._process.close()
