"""Roll-outs by vLLM, which samples many times faster than a loop over Hugging Face's forward.

vLLM pins its own torch, so it lives in an environment of its own, and in a process of its own: this end sends
prompt embeddings and, now and then, the language model's weights; that end
(``nim4asr.training.rollouts.vllm_worker``) answers with tokens and their log probabilities. Its weights are
as old as the last ``refresh``, which is what GRPO's ratio and its clip are for.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from nim4asr.errors import InputError
from nim4asr.model.nim4 import Prompt
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.rollouts.sampling import Draw

WORKER = Path(__file__).with_name("vllm_worker.py")


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
        self._folder = tempfile.TemporaryDirectory(prefix="nim4-rollouts-")
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [config.python, str(config.worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment_of(device, os.environ),
            )
        except OSError as error:
            self._errors.close()
            self._folder.cleanup()
            raise InputError(f"{config.python}: vLLM's Python cannot be run ({error.strerror})") from None

    def refresh(self, llm: Any) -> None:
        """Sample with the weights of ``llm``, a Hugging Face causal language model, from now on."""
        folder = Path(self._folder.name) / "model"
        # In one file, which that end expects.
        llm.save_pretrained(folder, max_shard_size="1000GB")
        self._ask(
            {
                "do": "load",
                "model": str(folder),
                "dtype": self._config.dtype,
                "longest": self._config.longest,
                "memory_share": self._config.memory_share,
            }
        )

    def sample(
        self,
        tokenizer: Tokenizer,
        prompt: Prompt,
        seconds: Sequence[float],
        draw: Draw,
    ) -> Sampled:
        """As ``nim4asr.training.rollouts.sample``, with the weights of the last ``refresh``."""
        rows = {
            str(row): embeddings[mask.bool()].detach().float().cpu().contiguous()
            for row, (embeddings, mask) in enumerate(
                zip(prompt.embeddings, prompt.attention_mask, strict=True)
            )
        }
        path = Path(self._folder.name) / "prompts.safetensors"
        save_file(rows, path)
        answer = self._ask(
            {
                "do": "sample",
                "prompts": str(path),
                "budgets": [draw.guards.max_new_tokens(length) for length in seconds],
                "samples": draw.samples,
                "temperature": draw.temperature,
                "seed": draw.seed,
                "end": tokenizer.end,
            }
        )
        return Sampled(answer["written"], answer["log_probs"])

    def close(self) -> None:
        """End the engine."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise InputError(f"vLLM has ended; it said last: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise InputError(f"vLLM could not {request['do']}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        said = [line for line in self._errors.read().splitlines() if line.strip()]
        return said[-1] if said else "nothing"


def environment_of(device: torch.device | None, own: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker that is to see no GPU but ``device``, in a process whose environment is
    ``own``.

    Each of W processes has a GPU of its own, and a worker that saw all of them would take the first.
    """
    if device is None or device.type != "cuda":
        return dict(own)
    place = device.index or 0
    visible = [one.strip() for one in own.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return {**own, "CUDA_VISIBLE_DEVICES": visible[place] if visible else str(place)}
