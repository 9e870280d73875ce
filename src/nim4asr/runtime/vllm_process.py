"""vLLM in a process of its own, asked in lines of JSON.

vLLM pins its own torch, so it lives in an environment of its own: its Python runs
``nim4asr.runtime.vllm_worker``. Embeddings and weights travel as files.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from nim4asr.errors import InputError

WORKER = Path(__file__).with_name("vllm_worker.py")


class VllmProcess:
    """A running vLLM by the Python ``python``, which sees no GPU but ``device``.

    Raises ``InputError`` if it does not start or fails, with what it said last.
    """

    def __init__(self, python: str, device: torch.device | None = None, worker: Path = WORKER) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nim4-vllm-")
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment_of(device, os.environ),
            )
        except OSError as error:
            self._errors.close()
            self._folder.cleanup()
            raise InputError(f"{python}: vLLM's Python cannot be run ({error.strerror})") from None

    def load(self, llm: Any, dtype: str, longest: int, memory_share: float, most_log_probs: int = 20) -> None:
        """Run the weights of ``llm``, a Hugging Face causal language model, from now on."""
        folder = Path(self._folder.name) / "model"
        # In one file, which that end expects.
        llm.save_pretrained(folder, max_shard_size="1000GB")
        self.ask(
            {
                "do": "load",
                "model": str(folder),
                "dtype": dtype,
                "longest": longest,
                "memory_share": memory_share,
                "most_log_probs": most_log_probs,
            }
        )

    def ask_of(self, prompts: list[Tensor], request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request about ``prompts``, embeddings (N, D_llm) each."""
        path = Path(self._folder.name) / "prompts.safetensors"
        rows = {str(i): prompt.detach().float().cpu().contiguous() for i, prompt in enumerate(prompts)}
        save_file(rows, path)
        return self.ask({**request, "prompts": str(path)})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
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

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

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
    visible = [device.strip() for device in own.get("CUDA_VISIBLE_DEVICES", "").split(",") if device.strip()]
    return {**own, "CUDA_VISIBLE_DEVICES": visible[place] if visible else str(place)}
