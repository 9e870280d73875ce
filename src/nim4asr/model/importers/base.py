"""What all importers share."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4


def filled(config: Nim4Config, state: Mapping[str, Tensor], source: str | Path) -> Nim4:
    """The network of ``config`` with the weights ``state``, which may hold more than it needs.

    Raises ``InputError``, which names their ``source``, if one is missing, of another shape, or damaged: no
    numbers, or a matrix of zeros.
    """
    with torch.device("meta"):
        network = Nim4(config)
    expected = network.state_dict()
    for name, value in expected.items():
        if name not in state:
            raise InputError(f"{source}: the weights lack {name!r}")
        if state[name].shape != value.shape:
            raise InputError(
                f"{source}: {name!r} has the shape {tuple(state[name].shape)}, expected {tuple(value.shape)}"
            )
        if not state[name].is_floating_point() or not bool(torch.isfinite(state[name].sum())):
            raise InputError(f"{source}: the weights {name!r} are no numbers; the file is damaged")
        if value.ndim > 1 and not bool(state[name].any()):
            raise InputError(f"{source}: the weights {name!r} are all zero; the file is damaged")
    network.load_state_dict({name: state[name] for name in expected}, assign=True)
    return network.eval()
