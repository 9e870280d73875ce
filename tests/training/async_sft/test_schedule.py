"""The schedule of asynchronous IA-SFT, without a network: what is published when, and what the other worker
does.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nim4asr.errors import InputError
from nim4asr.training.async_sft.schedule import (
    DriftAction,
    Phase,
    Progress,
    State,
    SwapConfig,
    drift_action,
    next_phase,
    round_loop,
    wait_for_snapshot,
)
from nim4asr.training.async_sft.snapshots import Snapshot, SnapshotStore
from nim4asr.training.async_sft.stage import AsyncIaSft
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.pretraining import Pretraining

MILLION = 1_000_000


def paper() -> AsyncIaSft:
    def loop(steps: int) -> LoopConfig:
        return LoopConfig(steps, OptimizerConfig(1e-3), warmup_steps=10_000)

    return AsyncIaSft(
        Pretraining(loop(2 * MILLION)),
        Alignment(loop(100_000)),
        IaSft(loop(2 * MILLION)),
        steps_per_snapshot=MILLION,
    )


def scripted_cka(step: int, reference: int) -> float:
    """An encoder that moves fast at first: 0.975 lies between 500 k and 1.01 M, then 1.32 M; then it hardly
    moves.
    """
    places = {500_000: 1_010_000, 1_010_000: 1_320_000, 1_320_000: 5 * MILLION}
    return 0.974 if step >= places[reference] else 0.976


def test_a_scripted_trace_gives_the_schedule_of_the_paper() -> None:
    config = paper()
    published: list[Snapshot] = []
    reference: int | None = None
    looked = []
    for step in range(10_000, 2 * MILLION + 1, 10_000):
        due = drift_action(config.swaps, step, 2 * MILLION, reference is not None)
        if due is DriftAction.NOTHING:
            continue
        looked.append(step)
        if due is DriftAction.SET_REFERENCE:
            reference = step
            continue
        assert reference is not None
        cka = scripted_cka(step, reference)
        if due is DriftAction.PUBLISH or cka < config.swaps.cka_threshold:
            published.append(Snapshot(len(published) + 1, step, cka, reference, due is DriftAction.PUBLISH))
            reference = step
    # Monitoring begins at a quarter, every half a per cent.
    assert looked == list(range(500_000, 2 * MILLION + 1, 10_000))
    assert [one.step for one in published] == [1_010_000, 1_320_000, 2 * MILLION]
    assert [one.final for one in published] == [False, False, True]

    # The other worker, on these: it waits, aligns, and has rounds of 1 M, 1 M and 2 M steps.
    state, steps, aligned = State(), 0, False
    rounds = []
    newest: Snapshot | None = None
    arriving = iter(published)
    for _ in range(100):
        following = next_phase(state, Progress(aligned, steps, newest), config)
        if following != state:
            state = following
        elif state.phase is Phase.ALIGNING:
            aligned = True
        elif state.phase in (Phase.TRAINING, Phase.FINAL_ROUND) and steps < round_loop(state, config).steps:
            rounds.append((state.snapshot, round_loop(state, config).steps - steps))
            steps = round_loop(state, config).steps
        elif state.phase is Phase.DONE:
            break
        else:
            newest = next(arriving)
    assert state.phase is Phase.DONE
    assert rounds == [(1, MILLION), (2, MILLION), (3, 2 * MILLION)]


def test_a_newer_snapshot_cuts_a_leg_short_and_the_newest_is_taken() -> None:
    config = paper()
    training = State(Phase.TRAINING, snapshot=1, round_start=0)
    newer = Snapshot(3, 30, 0.9, 20)
    assert next_phase(training, Progress(True, 400, newer), config) == State(Phase.TRAINING, 3, 400)
    final = replace(newer, final=True)
    assert next_phase(training, Progress(True, 400, final), config) == State(Phase.FINAL_ROUND, 3, 400)
    assert next_phase(training, Progress(True, 400, replace(newer, number=1)), config) == training


def test_one_snapshot_may_be_the_first_and_the_last() -> None:
    config, only = paper(), Snapshot(1, 10, 1.0, 0, final=True)
    aligning = next_phase(State(), Progress(False, 0, only), config)
    assert aligning == State(Phase.ALIGNING, 1)
    assert next_phase(aligning, Progress(True, 0, only), config) == State(Phase.FINAL_ROUND, 1, 0)


def test_the_rate_is_held_until_the_final_leg() -> None:
    config = paper()
    round = round_loop(State(Phase.TRAINING, 2, MILLION), config)
    assert round.learning_rate(MILLION) == round.learning_rate(2 * MILLION - 1) == 1e-3
    last = round_loop(State(Phase.FINAL_ROUND, 3, 2 * MILLION), config)
    assert last.steps == 4 * MILLION
    assert last.learning_rate(2 * MILLION) == pytest.approx(1e-3)
    assert last.learning_rate(4 * MILLION - 1) == pytest.approx(0.0, abs=1e-9)


def test_a_state_comes_back(tmp_path: Path) -> None:
    assert State.load(tmp_path) == State()
    state = State(Phase.FINAL_ROUND, 3, 17)
    state.save(tmp_path / "ia-sft")
    assert State.load(tmp_path / "ia-sft") == state


def test_waiting_ends_with_a_newer_snapshot(tmp_path: Path) -> None:
    snapshots = SnapshotStore(tmp_path)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            snapshots.publish(nn.Linear(2, 2), 10, 0.9)

    assert wait_for_snapshot(snapshots, 0, 7.0, sleep).step == 10
    assert slept == [7.0] * 3


@pytest.mark.parametrize("values", [{"cka_threshold": 0.0}, {"start_share": 1.0}, {"check_every_share": 0.0}])
def test_impossible_swaps(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        SwapConfig(**values)


def test_the_board_gives_back_what_was_published(tmp_path: Path) -> None:
    snapshots = SnapshotStore(tmp_path / "snapshots")
    assert snapshots.latest() is None and snapshots.reference(100) is None
    torch.manual_seed(0)
    one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    snapshots.begin(one, 5)
    assert snapshots.latest() is None
    reference = snapshots.reference(10)
    assert reference is not None and reference.step == 5 and snapshots.reference(5) is None
    first = snapshots.publish(other, 10, 0.97)
    assert first == Snapshot(1, 10, 0.97, 5) == snapshots.latest()
    # Repeated by a run that was cut: published once.
    assert snapshots.publish(one, 10, 0.5) == first
    final = snapshots.publish(one, 20, 0.99, final=True)
    assert snapshots.snapshots() == [first, final] and final.reference_step == 10
    back = nn.Linear(3, 2)
    snapshots.load(1, back)
    assert torch.equal(back.weight, other.weight)
    with pytest.raises(InputError, match="another model"):
        snapshots.load(1, nn.Linear(4, 2))
    with pytest.raises(InputError, match="cannot be read"):
        snapshots.load(9, back)


def test_a_damaged_manifest_is_said(tmp_path: Path) -> None:
    snapshots = SnapshotStore(tmp_path)
    snapshots.publish(nn.Linear(2, 2), 10, 0.9)
    (tmp_path / "snapshot-1/manifest.json").write_text("{")
    with pytest.raises(InputError, match="no snapshot"):
        snapshots.latest()


def test_half_a_snapshot_is_none(tmp_path: Path) -> None:
    (tmp_path / "snapshot-1.new").mkdir()
    assert SnapshotStore(tmp_path).latest() is None
