"""Saved states: kept to a number, refused where they do not fit, whole on a full disk."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch
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
