"""The mean of models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import toy_config
from nim4asr.acoustics.normalization import Cmvn
from nim4asr.errors import InputError
from nim4asr.model.averaging import average
from nim4asr.model.checkpoint import Checkpoint, load, save, stored_dtype
from nim4asr.model.nim4 import Nim4
from nim4asr.training.tokenizer import train_tokenizer


def another(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    return replace(checkpoint, network=Nim4(checkpoint.config).eval())


def test_the_mean_of_three(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    places = [tmp_path / str(seed) for seed in range(3)]
    for seed, place in enumerate(places):
        save(another(toy_checkpoint, seed), place)
    states = [load(place).network.state_dict() for place in places]
    mean = average(places).network.state_dict()
    assert mean.keys() == states[0].keys()
    for name, value in mean.items():
        # Tied weights too are averaged once.
        torch.testing.assert_close(value, torch.stack([state[name] for state in states]).mean(0))


def test_a_model_is_its_own_mean_and_decodes_as_the_first_does(
    toy_checkpoint: Checkpoint, toy_model: Path, tmp_path: Path
) -> None:
    config = toy_checkpoint.config
    network = Nim4(replace(config, decoding=replace(config.decoding, beam_size=5), name="other"))
    network.load_state_dict(toy_checkpoint.network.state_dict())
    save(replace(toy_checkpoint, network=network), tmp_path / "other", torch.bfloat16)
    assert stored_dtype(tmp_path / "other") == torch.bfloat16 and stored_dtype(toy_model) == torch.float32
    mean = average([tmp_path / "other", toy_model])
    assert mean.config.decoding.beam_size == 5
    for name, value in mean.network.state_dict().items():
        torch.testing.assert_close(value, toy_checkpoint.network.state_dict()[name], atol=5e-3, rtol=5e-3)


def test_what_cannot_be_averaged(toy_checkpoint: Checkpoint, toy_model: Path, tmp_path: Path) -> None:
    assert toy_checkpoint.tokenizer is not None
    config = toy_config(len(toy_checkpoint.tokenizer))
    wider = replace(config, encoder=replace(config.encoder, kernel_size=9))
    others = {
        "encoder": replace(toy_checkpoint, network=Nim4(wider)),
        "tokenizers": replace(
            toy_checkpoint, tokenizer=train_tokenizer(["other words"] * 9 + ["一二三四五六七八九十"] * 9, 120)
        ),
        "normalizations": replace(
            toy_checkpoint, normalization=Cmvn(np.zeros(80, np.float32), toy_checkpoint.normalization.scale)
        ),
    }
    for what, other in others.items():
        save(other, tmp_path / what)
        with pytest.raises(InputError, match=f"cannot be averaged: their .*{what}"):
            average([toy_model, tmp_path / what])
    with pytest.raises(InputError, match="two models or more"):
        average([toy_model])
    with pytest.raises(InputError, match="no such model folder"):
        average([toy_model, tmp_path / "none"])
