import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from numpy.random import Generator
from torch import Tensor, nn

from nim4asr.errors import InputError
from nim4asr.training.loop import Loop, LoopConfig
from nim4asr.training.optimiser import OptimiserConfig


def config(steps: int) -> LoopConfig:
    return LoopConfig(
        20, OptimiserConfig(1e-2), warmup_steps=4, log_every=1, evaluate_every=5, checkpoint_every=steps
    )


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.3), nn.Linear(20, 1))


class PowerCutError(Exception):
    """The power is cut."""


def loop(folder: Path, network: nn.Module, settings: LoopConfig, die_at: int | None = None) -> Loop[Tensor]:
    def make_batch(step: int, random: Generator) -> Tensor:
        return torch.from_numpy(random.standard_normal((8, 20))).float()

    steps = [0]

    def loss(batch: Tensor, random: Generator) -> Mapping[str, Tensor]:
        steps[0] += 1
        if die_at is not None and steps[0] > die_at:
            raise PowerCutError
        return {"loss": (network(batch) - batch[:, :1]).square().mean()}

    return Loop(folder, network, settings, make_batch, loss, lambda: {"dev": 1.0})


def losses(folder: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def test_a_run_cut_short_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    whole = model()
    loop(tmp_path / "whole", whole, config(7)).run()
    with pytest.raises(PowerCutError):
        loop(tmp_path / "cut", model(), config(7), die_at=9).run()
    resumed = model()
    loop(tmp_path / "cut", resumed, config(7)).run()
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    loop(tmp_path, model(), config(7)).run()
    before = (tmp_path / "log.jsonl").read_text()
    loop(tmp_path, model(), config(7), die_at=0).run()
    assert (tmp_path / "log.jsonl").read_text() == before


def test_a_state_lost_between_two_renames_is_found(tmp_path: Path) -> None:
    loop(tmp_path, model(), config(7)).run()
    (tmp_path / "state").rename(tmp_path / "state.old")
    loop(tmp_path, model(), config(7), die_at=0).run()
    assert (tmp_path / "state").exists()


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    loop(tmp_path, model(), config(7)).run()
    with pytest.raises(InputError, match="another model"):
        loop(tmp_path, nn.Linear(20, 1), config(7)).run()


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(tmp_path: Path) -> None:
    network = model()

    def loss(batch: Tensor, random: Generator) -> Mapping[str, Tensor]:
        scale = float("nan") if loop_.optimiser.param_groups[0]["lr"] and bad() else 1.0
        return {"loss": network(batch).mean() * scale}

    calls = [0]

    def bad() -> bool:
        calls[0] += 1
        return calls[0] > 6

    loop_ = Loop(tmp_path, network, config(3), lambda step, random: torch.randn(2, 20), loss)
    with pytest.raises(InputError, match="step 6: the loss is nan"):
        loop_.run()
    assert json.loads((tmp_path / "state/step.json").read_text()) == {"step": 6}
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_schedule_rises_and_falls() -> None:
    settings = LoopConfig(100, OptimiserConfig(1.0), warmup_steps=10, final_share=0.1)
    rates = [settings.learning_rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)
