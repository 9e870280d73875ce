from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file

from nim4asr.audio.samples import Floats
from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint, load, save, stored_dtype
from nim4asr.model.quantization import can_be_quantized, dequantized, quantized


@given(arrays(np.float32, (5, 3, 4), elements=st.floats(-1e4, 1e4, width=32)))
def test_no_weight_moves_by_more_than_half_a_step_of_its_row(weights: Floats) -> None:
    whole, scale = quantized(weights)
    assert whole.dtype == np.int8 and whole.shape == weights.shape and scale.shape == (5,)
    largest = np.abs(weights).max(axis=(1, 2))
    error = np.abs(dequantized(whole, scale) - weights).max(axis=(1, 2))
    # But for numbers that float32 itself hardly tells apart.
    assert (error <= largest / 127 / 2 * 1.001 + 1e-38).all()


def test_what_is_worth_it() -> None:
    assert can_be_quantized((3, 16)) and can_be_quantized((3, 4, 4))
    assert not can_be_quantized((300,)) and not can_be_quantized((3, 15)) and not can_be_quantized(())


def test_scales_of_other_weights() -> None:
    with pytest.raises(ValueError, match="scales of the shape"):
        dequantized(np.zeros((3, 4), np.int8), np.zeros(4, np.float32))


@torch.no_grad()
def test_a_model_in_8_bits(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(toy_checkpoint, tmp_path / "whole", torch.float16)
    save(toy_checkpoint, tmp_path / "small", torch.int8)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "small")]
    assert sizes[1] < 0.75 * sizes[0]
    assert (
        stored_dtype(tmp_path / "small") == torch.int8 and stored_dtype(tmp_path / "whole") == torch.float16
    )
    loaded = load(tmp_path / "small").network.state_dict()
    stored = load_file(tmp_path / "small/model.safetensors")
    # Tied weights are stored once.
    assert ("llm.lm_head.weight" in stored) != ("llm.model.embed_tokens.weight" in stored)
    for name, value in toy_checkpoint.network.state_dict().items():
        step = value.abs().max() / 127 if value.ndim > 1 else 0.0
        assert (loaded[name] - value).abs().max() <= step / 2 + 1e-6, name
    # Saved again they are the same numbers.
    save(load(tmp_path / "small"), tmp_path / "again", torch.int8)
    again = load_file(tmp_path / "again/model.safetensors")
    assert all((again[name] == value).all() for name, value in stored.items() if value.dtype == np.int8)


def test_a_scale_that_is_missing_or_of_another_shape(toy_checkpoint: Checkpoint, tmp_path: Path) -> None:
    save(toy_checkpoint, tmp_path / "model", torch.int8)
    path = tmp_path / "model/model.safetensors"
    (tmp_path / "model/checksums.json").unlink()
    stored = load_file(path)
    name = "adaptor.linear1.weight"
    save_file({**stored, f"{name}.scale": np.ones(3, np.float32)}, path)
    with pytest.raises(InputError, match=r"adaptor\.linear1\.weight"):
        load(tmp_path / "model")
    del stored[f"{name}.scale"]
    save_file(stored, path)
    with pytest.raises(InputError, match="are no numbers"):
        load(tmp_path / "model")
