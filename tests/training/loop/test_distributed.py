"""Two processes over gloo, each with half of the joint batch, and one process with all of it."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nim4asr.model.checkpoint import load
from nim4asr.training.async_sft.schedule import Phase, State
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.states import steps_done

LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]

SCRIPT = '''
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from accelerate import Accelerator
from accelerate.state import DistributedType, PartialState

from nim4asr.training.loop.loop import Loop, LoopConfig
from nim4asr.training.loop.objective import Objective, LossTerm
from nim4asr.training.loop.optimizer import OptimizerConfig

folder, joint, sharded = Path(sys.argv[1]), sys.argv[2] == "joint", sys.argv[3] == "sharded"


def half(number, random):
    """Halves of unlike sizes, so that the mean of their means is not the joint mean."""
    rows = np.random.default_rng(number).standard_normal((3 if number % 2 else 7, 20))
    return torch.from_numpy(rows).float()


def whole(number, random):
    return torch.cat([half(2 * number, random), half(2 * number + 1, random)])


class Fit(Objective):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, batch, random):
        error = self.net(batch) - batch[:, :1]
        # Two parts that count different things.
        return {
            "square": LossTerm(error.square().sum(), len(batch)),
            "size": LossTerm(error.abs().sum(), 2.0 * len(batch), 0.5),
        }


optimizer = OptimizerConfig(1e-2, muon=not sharded, clip_norm=0.5)
config = LoopConfig(6, optimizer, 1, log_every=1, checkpoint_every=3)
if os.environ.get("ACCELERATE_USE_DEEPSPEED"):
    # DeepSpeed runs on processors; it is Accelerate that does not expect it to.
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_CPU)
    accelerator = Accelerator()
else:
    accelerator = Accelerator(cpu=True)
loop = Loop(folder, Fit(), config, whole if joint else half, accelerator=accelerator)
# What the main process decides, all do.
loop.run(lambda done: accelerator.is_main_process and done == 3)
# Goes on from the state that it has saved.
Loop(folder, Fit(), config, whole if joint else half, accelerator=accelerator).run()
'''


def run(tmp_path: Path, name: str, processes: int, **environment: str) -> list[float]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    joint = "joint" if processes == 1 else "half"
    whole = environment.pop("SHARDED", "") == "" and not any("USE_" in name for name in environment)
    done = subprocess.run(
        [
            sys.executable,
            *([*LAUNCHER, str(processes)] if processes > 1 else []),
            str(script),
            str(tmp_path / name),
            joint,
            "whole" if whole else "sharded",
        ],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [row["loss"] for row in read_log(tmp_path / name)]


def assert_same_weights(one: Path, other: Path) -> None:
    """The last state of each holds whole weights, for the stages to come."""
    a, b = (load_file(folder / "state-6/model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys() and len(a) == 4
    for name, value in a.items():
        torch.testing.assert_close(b[name], value, atol=1e-5, rtol=1e-4)


def test_two_processes_learn_as_one_with_the_joint_batch(tmp_path: Path) -> None:
    one = run(tmp_path, "one", 1)
    two = run(tmp_path, "two", 2)
    assert len(one) == 6
    assert two == pytest.approx(one, rel=1e-4)
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert steps_done(tmp_path / "two") == 6


def test_shards_learn_as_one_with_the_joint_batch(tmp_path: Path) -> None:
    one = run(tmp_path, "one", 1, SHARDED="yes")
    two = run(
        tmp_path,
        "two",
        2,
        ACCELERATE_USE_FSDP="true",
        FSDP_VERSION="2",
        FSDP_AUTO_WRAP_POLICY="NO_WRAP",
        FSDP_STATE_DICT_TYPE="SHARDED_STATE_DICT",
    )
    assert len(one) == 6
    assert two == pytest.approx(one, rel=1e-4)
    assert_same_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs DeepSpeed")
@pytest.mark.parametrize("stage", ["1", "2", "3"])
def test_zero_learns_as_one_with_the_joint_batch(tmp_path: Path, stage: str) -> None:
    one = run(tmp_path, "one", 1, SHARDED="yes")
    two = run(
        tmp_path,
        "two",
        2,
        ACCELERATE_USE_DEEPSPEED="true",
        ACCELERATE_DEEPSPEED_ZERO_STAGE=stage,
        DS_ACCELERATOR="cpu",
    )
    assert (tmp_path / "two/state-6/pytorch_model").exists()
    assert len(one) == 6
    assert two == pytest.approx(one, rel=1e-4)
    assert_same_weights(tmp_path / "one", tmp_path / "two")


PROGRAMME = """
import os
import sys
from pathlib import Path

from test_run import toy_recipe, write_corpus
from nim4asr.training.run import RunOptions, run_recipe

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    # Each process makes the same corpus for itself; what they share is the run's folder.
    own = folder / os.environ["RANK"]
    own.mkdir()
    write_corpus(own)
    run_recipe(toy_recipe(own), folder / "run")
"""


def test_two_processes_run_a_whole_programme(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAMME)
    tests = Path(__file__).parents[2]
    paths = os.pathsep.join([str(tests), str(tests / "training")])
    done = subprocess.run(
        [sys.executable, *LAUNCHER, "2", str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert State.load(tmp_path / "run/ia-sft/ia-sft").phase is Phase.DONE
    assert load(tmp_path / "run/model").network.llm is not None
