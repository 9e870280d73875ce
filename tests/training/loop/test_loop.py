import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from numpy.random import Generator, default_rng
from torch import Tensor, nn

from nim4asr.errors import InputError
from nim4asr.training.loop.distributed import new_accelerator
from nim4asr.training.loop.loop import Loop, LoopConfig
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.objective import LossTerm, LossTerms, Objective
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.loop.states import steps_done


def config(steps: int) -> LoopConfig:
    return LoopConfig(
        20, OptimizerConfig(1e-2), warmup_steps=4, log_every=1, evaluate_every=5, checkpoint_every=steps
    )


class Fit(Objective[Tensor]):
    """A toy: the first column of its input from all of it. Dies after ``die_at`` steps."""

    def __init__(self, die_at: int | None = None, nan_at: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.3), nn.Linear(20, 1))
        self.steps, self.die_at, self.nan_at = 0, die_at, nan_at

    def forward(self, batch: Tensor, random: Generator) -> LossTerms:
        self.steps += 1
        if self.die_at is not None and self.steps > self.die_at:
            raise PowerCutError
        scale = float("nan") if self.nan_at is not None and self.steps > self.nan_at else 1.0
        return {"error": LossTerm((self.net(batch) - batch[:, :1]).square().sum() * scale, len(batch))}


class PowerCutError(Exception):
    """The power is cut."""


def make_batch(number: int, random: Generator) -> Tensor:
    return torch.from_numpy(random.standard_normal((8, 20))).float()


def loop(folder: Path, objective: Fit, settings: LoopConfig) -> Loop[Tensor]:
    return Loop(folder, objective, settings, make_batch, lambda: {"dev": 1.0})


def losses(folder: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in read_log(folder) if "loss" in row}


@pytest.mark.parametrize("muon", [True, False])
def test_a_run_cut_short_goes_on_to_the_last_bit(tmp_path: Path, muon: bool) -> None:
    settings = replace(config(7), optimizer=OptimizerConfig(1e-2, muon=muon))
    whole = Fit()
    loop(tmp_path / "whole", whole, settings).run()
    with pytest.raises(PowerCutError):
        loop(tmp_path / "cut", Fit(die_at=9), settings).run()
    resumed = Fit()
    loop(tmp_path / "cut", resumed, settings).run()
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_processes_that_read_give_the_same_batches(tmp_path: Path) -> None:
    for workers in (0, 2):
        settings = replace(config(20), steps=6, data_workers=workers)
        loop(tmp_path / str(workers), Fit(), settings).run()
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_killed_in_the_middle_of_anything(tmp_path: Path) -> None:
    """A process that is killed without warning leaves a whole state, and the rest is done by another."""
    script = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_loop import Fit, config, loop
        from dataclasses import replace
        loop(Path({str(tmp_path / "run")!r}), Fit(), replace(config(1), steps=100_000)).run()
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    for _ in range(600):
        if steps_done(tmp_path / "run") >= 3:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    done = steps_done(tmp_path / "run")
    assert done >= 3
    settings = replace(config(1), steps=done + 3)
    assert loop(tmp_path / "run", Fit(), settings).run() == done + 3
    steps = [row["step"] for row in read_log(tmp_path / "run") if "loss" in row]
    assert steps == list(range(1, done + 4))


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    loop(tmp_path, Fit(), config(7)).run()
    before = (tmp_path / "log.jsonl").read_text()
    loop(tmp_path, Fit(die_at=0), config(7)).run()
    assert (tmp_path / "log.jsonl").read_text() == before


def test_a_pause_saves_and_is_gone_on_from(tmp_path: Path) -> None:
    loop(tmp_path / "whole", Fit(), config(20)).run()
    assert loop(tmp_path / "paused", Fit(), config(20)).run(lambda done: done == 5) == 5
    assert loop(tmp_path / "paused", Fit(), config(20)).run() == 20
    assert losses(tmp_path / "paused") == losses(tmp_path / "whole")


def test_accumulated_gradients_are_those_of_the_joint_batch(tmp_path: Path) -> None:
    """Batches of one size: two of them in a step are one of twice the size."""

    def halves(number: int, random: Generator) -> Tensor:
        both = default_rng(number // 2).standard_normal((16, 20))
        return torch.from_numpy(both[8 * (number % 2) :][:8]).float()

    def whole(number: int, random: Generator) -> Tensor:
        return torch.from_numpy(default_rng(number).standard_normal((16, 20))).float()

    networks = []
    for name, make, accumulation in (("halves", halves, 2), ("whole", whole, 1)):
        objective = Fit()
        objective.net[1] = nn.Identity()
        settings = replace(config(20), accumulation_steps=accumulation)
        Loop(tmp_path / name, objective, settings, make).run()
        networks.append(objective)
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert losses(tmp_path / "halves") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(tmp_path: Path) -> None:
    objective = Fit(nan_at=6)
    with pytest.raises(InputError, match="step 6: the loss is nan"):
        loop(tmp_path, objective, config(3)).run()
    assert steps_done(tmp_path) == 6
    assert all(torch.isfinite(p).all() for p in objective.parameters())


def test_waiting_for_data_is_measured(tmp_path: Path) -> None:
    def slow(number: int, random: Generator) -> Tensor:
        # Long beside what five steps take on the busiest machine.
        time.sleep(0.4)
        return make_batch(number, random)

    Loop(tmp_path, Fit(), replace(config(20), steps=5, log_every=5), slow).run()
    (row,) = read_log(tmp_path)
    assert row["waiting_share"] > 0.5


def test_matrices_are_not_sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nim4asr.training.loop.loop.is_sharded", lambda _: True)
    with pytest.raises(InputError, match="muon=False"):
        loop(tmp_path, Fit(), config(7)).run()


def test_the_schedule_rises_and_falls() -> None:
    settings = LoopConfig(100, OptimizerConfig(1.0), warmup_steps=10, final_lr_ratio=0.1)
    rates = [settings.learning_rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.1)


def test_a_held_rate_falls_only_afterwards() -> None:
    settings = LoopConfig(100, OptimizerConfig(1.0), warmup_steps=10, hold_steps=60)
    rates = [settings.learning_rate(step) for step in range(101)]
    assert set(rates[10:61]) == {1.0}
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[100] == pytest.approx(0.0)


@pytest.mark.parametrize(
    "values", [{"steps": 0}, {"accumulation_steps": 0}, {"keep_states": 0}, {"checkpoint_every": 0}]
)
def test_impossible_loops(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        LoopConfig(**{"steps": 5, "optimizer": OptimizerConfig(1.0), **values})  # type: ignore[arg-type]


class Two:
    """What one of two processes has of Accelerate, the other of which has just the same batch."""

    num_processes, device = 2, torch.device("cpu")

    def reduce(self, values: Tensor, reduction: str) -> Tensor:
        assert reduction == "sum"
        return 2 * values


def test_each_process_s_share_of_the_joint_loss(tmp_path: Path) -> None:
    """Gradients are averaged over processes, so the mean of the shares must be the loss of the joint
    batch.
    """
    running = loop(tmp_path, Fit(), config(1))
    total = torch.tensor(6.0)
    losses = {
        "a": LossTerm(total, 3.0),
        "b": LossTerm(torch.tensor(4.0), 2.0, 0.5),
        "logged": LossTerm(total, 1.0, 0.0),
    }
    running.accelerator = Two()  # type: ignore[assignment]
    share = running._joint_loss(losses, 0, torch.zeros(1))
    # Both have 6 over 3 and 4 over 2: joined 12 over 6 and 8 over 4.
    assert share.item() == pytest.approx(12 / 6 + 0.5 * 8 / 4)


def test_a_turn_is_a_process_s_own_batch(tmp_path: Path) -> None:
    turns: list[tuple[int, int]] = []

    class Noting(Fit):
        def prepare(self, batch: Tensor, turn: int, random: Generator) -> Tensor:
            turns.append((turn, int(batch[0, 0])))
            return batch

    settings = replace(config(20), steps=3, accumulation_steps=2)
    running = Loop(tmp_path, Noting(), settings, lambda number, random: torch.full((8, 20), float(number)))
    genuine = running.accelerator

    class Third(type(genuine)):  # type: ignore[misc]
        """The third of four processes, as far as the loop asks."""

        num_processes = property(lambda self: 4)
        process_index = property(lambda self: 2)

    genuine.__class__ = Third
    running.run()
    # Every fourth batch from the third on, counted one by one.
    assert turns == [(turn, 4 * turn + 2) for turn in range(6)]


def test_runs_of_both_precisions_in_one_process(tmp_path: Path) -> None:
    for precision in ("bf16", "no", "bf16", "no"):
        accelerator = new_accelerator(precision)
        assert accelerator.mixed_precision == precision
        folder = tmp_path / f"{precision}-{len(list(tmp_path.iterdir()))}"
        running = Loop(folder, Fit(), replace(config(20), steps=2), make_batch, accelerator=accelerator)
        assert running.run() == 2
    whole, half = (losses(tmp_path / name) for name in ("no-1", "bf16-0"))
    assert losses(tmp_path / "no-3") == whole
    assert half != whole and half == pytest.approx(whole, rel=0.05)


def test_it_evaluates_as_often_as_it_is_asked_to_and_at_the_end(tmp_path: Path) -> None:
    loop(tmp_path / "run", Fit(), replace(config(20), steps=12)).run()
    assert [row["step"] for row in read_log(tmp_path / "run") if "dev" in row] == [5, 10, 12]
