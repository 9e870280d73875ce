"""Saved states: kept to a number, refused where they do not fit, whole on a full disk."""

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nim4asr.errors import InputError
from nim4asr.training.loop.states import latest_state, load_weights, steps_done
from training.loop.test_loop import Fit, config, loop


def test_states_are_kept_to_a_number(tmp_path: Path) -> None:
    loop(tmp_path, Fit(), replace(config(3), keep_states=3)).run()
    assert sorted(one.name for one in tmp_path.glob("state-*")) == ["state-15", "state-18", "state-20"]


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    loop(tmp_path, Fit(), config(7)).run()
    other = Fit()
    other.net = nn.Sequential(nn.Linear(20, 1))
    with pytest.raises(InputError, match="another model"):
        loop(tmp_path, other, config(7)).run()


def test_a_full_disk_is_said_and_the_last_state_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop(tmp_path, Fit(), config(5)).run(lambda done: done == 10)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nim4asr.training.loop.states.save_file", full)
    with pytest.raises(InputError, match=r"the disk is full. Step 10 is kept"):
        loop(tmp_path, Fit(), config(5)).run()
    monkeypatch.undo()
    assert loop(tmp_path, Fit(), config(5)).run() == 20


@pytest.mark.parametrize("name", ["net.0.weight", "net.2.bias"])
def test_the_state_of_another_shape_is_refused(tmp_path: Path, name: str) -> None:
    loop(tmp_path, Fit(), replace(config(20), steps=1)).run()
    state = latest_state(tmp_path)
    assert state is not None
    weights = dict(Fit().named_parameters())
    load_weights(state, weights)
    with pytest.raises(InputError, match="another model"):
        load_weights(state, {**weights, name: torch.zeros(1, 1, 1)})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"step": "x"}', '{"step": null}'])
def test_a_state_without_its_step_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "state-5").mkdir()
    (tmp_path / "state-5/step.json").write_text(text)
    with pytest.raises(InputError, match="no step of a run"):
        steps_done(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "a bit", "gone"])
def test_a_damaged_state_is_one_sentence_and_can_be_done_without(
    tmp_path: Path, file: str, damage: str
) -> None:
    loop(tmp_path / "whole", Fit(), config(5)).run()
    loop(tmp_path / "run", Fit(), config(5)).run(lambda done: done == 10)
    path = tmp_path / "run/state-10" / file
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-5])
    elif damage == "a bit":
        # Of the last number: without check sums, nobody would see it.
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        path.unlink()
    with pytest.raises(
        InputError, match=r"state-10: the state is damaged .*; remove this folder to go on before it"
    ):
        loop(tmp_path / "run", Fit(), config(5)).run()
    shutil.rmtree(path.parent)
    assert loop(tmp_path / "run", Fit(), config(5)).run() == 20
    ours, theirs = (load_file(tmp_path / name / "state-20/model.safetensors") for name in ("run", "whole"))
    assert all(value.equal(theirs[name]) for name, value in ours.items())


def test_a_state_that_says_another_step_is_refused(tmp_path: Path) -> None:
    loop(tmp_path, Fit(), replace(config(20), keep_states=1)).run()
    (tmp_path / "state-20/step.json").write_text('{"step": 2000}')
    with pytest.raises(InputError, match="to go on from the beginning of the stage"):
        steps_done(tmp_path)


def test_a_state_of_before_has_no_check_sums(tmp_path: Path) -> None:
    loop(tmp_path, Fit(), config(10)).run(lambda done: done == 10)
    (tmp_path / "state-10/step.json").write_text('{"step": 10}')
    assert loop(tmp_path, Fit(), config(10)).run() == 20
