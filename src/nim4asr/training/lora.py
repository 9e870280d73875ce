"""LoRA (Hu et al. 2021): of a language model's matrices, only a correction of low rank is trained.

    W' = W + (alpha / rank) B A,   A (rank, in),  B (out, rank),  B = 0 at first

The library ``peft`` puts the corrections beside the matrices. They live as long as a stage: at its end they
are added to the weights, and the language model is an ordinary one again.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from nim4asr.errors import InputError


@dataclass(frozen=True)
class LoraConfig:
    """The corrections of a language model; all of its matrices have one, but its embeddings and output."""

    rank: int = 32
    alpha: float = 64.0
    """Times 1 / rank, the scale of a correction."""
    seed: int = 0
    """Of the matrices A."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError("LoRA needs a rank of at least 1, and an alpha above 0")


def require_peft() -> None:
    """Raises ``InputError`` if peft is not installed; it is not loaded yet."""
    try:
        found = find_spec("peft")
    except ValueError:
        found = None
    if found is None:
        raise InputError("LoRA needs peft: pip install 'nim4asr[lora]'")


def attach(llm: Any, config: LoraConfig) -> None:
    """Put a correction beside every matrix of ``llm``, in place, and leave the corrections alone trainable.
    Corrections that are there already stay as they are.

    Raises ``InputError`` if peft is not installed.
    """
    require_peft()
    import peft

    if _corrected(llm):
        llm.requires_grad_(False)
        for name, parameter in llm.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return
    # Begun alike whenever a stage begins, after a restart too.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        shape = peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules="all-linear",
            fan_in_fan_out=_is_transposed(llm),
        )
        peft.inject_adapter_in_model(shape, llm)


def merge(llm: Any) -> None:
    """Add the corrections of ``llm`` to its weights, in place, and take them away; nothing where there are
    none.
    """
    for name, layer in _corrected(llm).items():
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(llm.get_submodule(parent), own, layer.get_base_layer())
    if hasattr(llm, "peft_config"):
        del llm.peft_config


def _corrected(llm: Any) -> dict[str, Any]:
    """The layers of ``llm`` that have a correction, by name."""
    return {name: module for name, module in llm.named_modules() if hasattr(module, "lora_A")}


def _is_transposed(llm: Any) -> bool:
    """Whether the matrices of ``llm`` are kept as (in, out): those of GPT-2 and its kind."""
    return any(type(module).__name__ == "Conv1D" for module in llm.modules())
