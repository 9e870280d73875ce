from pathlib import Path

import numpy as np
import pytest
import torch

from nim4asr.errors import InputError
from nim4asr.model.checkpoint import Checkpoint
from nim4asr.training.loop import precision
from nim4asr.training.loop.precision import KEPT, precision_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(("seconds", "found"), [((1.0, 0.5), "bf16"), ((1.0, 0.9), "no"), ((1.0, 7.0), "no")])
def test_what_is_faster_is_chosen_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], found: str
) -> None:
    times = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(precision, "_seconds", lambda dtype, rows, turns: times[dtype])
    assert precision_of("auto", tmp_path, CPU) == found
    # A run that goes on, on whatever machine, keeps to it: its losses are to be the same to the last bit.
    swapped = dict(zip(times, reversed(seconds), strict=True))
    monkeypatch.setattr(precision, "_seconds", lambda dtype, rows, turns: swapped[dtype])
    assert precision_of("auto", tmp_path, CPU) == found


def test_where_bfloat16_is_emulated_a_small_product_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def seconds(dtype: torch.dtype, rows: int, turns: int) -> float:
        measured.append(rows * turns)
        return 0.5 if dtype == torch.bfloat16 else 0.01

    monkeypatch.setattr(precision, "_seconds", seconds)
    # An eightieth of the rows that are measured where there is a doubt.
    assert not precision.bf16_pays(CPU) and sum(measured) < 2 * 2400 * 12 / 80


def test_what_is_asked_for_is_not_measured(tmp_path: Path) -> None:
    assert precision_of("bf16", tmp_path, CPU) == "bf16" and precision_of("no", tmp_path, CPU) == "no"
    assert not (tmp_path / KEPT).exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"precision": "fp8"}'])
def test_a_choice_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / KEPT).write_text(text)
    with pytest.raises(InputError, match="no precision"):
        precision_of("auto", tmp_path, CPU)


def test_under_autocast_sums_and_posteriors_stay_float32(toy_checkpoint: Checkpoint) -> None:
    network = toy_checkpoint.network
    features = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 100, 80))).float()
    lengths = torch.tensor([100, 80])
    assert network.phoneme_head is not None
    with torch.no_grad():
        exact, _ = network.encoder(features, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            frames, _ = network.encoder(features, lengths)
            log_probs = network.phoneme_head(frames)
    assert frames.dtype == log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]), atol=1e-5, rtol=0)
    assert (frames - exact).abs().mean() < 0.02 * exact.abs().mean()
