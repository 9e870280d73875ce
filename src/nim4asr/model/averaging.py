"""The mean of several models' weights: a model that is often better than each of them.

The weights of models that one training run led to, or that further training of the same model led to, lie
around one minimum; their mean lies nearer to it (Izmailov et al., "Averaging Weights Leads to Wider Optima
and Better Generalization", 2018). Models trained from different beginnings have no such mean.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load


@torch.no_grad()
def average(places: Sequence[str | Path]) -> Checkpoint:
    """The model whose every weight is the mean over the models in ``places`` (folders or hub names).

    How it decodes, and everything else beside the weights, is the first model's. One model is held in memory
    beside the mean. Raises ``InputError`` if there are fewer than two, one cannot be loaded, or they differ
    in shape, phonemes, tokenizer or normalization.
    """
    if len(places) < 2:
        raise InputError("an average needs two models or more")
    mean = load(places[0])
    weights = _weights(mean)
    for number, place in enumerate(places[1:], 2):
        other = load(place)
        if difference := _difference(mean, other):
            raise InputError(f"{places[0]} and {place} cannot be averaged: their {difference} differ")
        others = _weights(other)
        for name, value in weights.items():
            # The mean of the first n, from that of the first n - 1.
            value += (others[name] - value) / number
    return mean


def _weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Everything that was trained, tied weights once."""
    network = checkpoint.network
    everything = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: value for name, value in everything.items() if value.is_floating_point()}


def _difference(one: Checkpoint, other: Checkpoint) -> str | None:
    """What keeps two models from being averaged, if something does."""
    for name in ("encoder", "features", "adaptor", "phoneme_head", "llm", "prompt", "phonemes"):
        if getattr(one.config, name) != getattr(other.config, name):
            return f"configurations of {name}"
    if one.tokenizer is not None and other.tokenizer is not None and one.tokenizer != other.tokenizer:
        return "tokenizers"
    if not one.normalization.is_close(other.normalization):
        return "normalizations of features"
    return None
