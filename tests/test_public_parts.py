"""docs/public_parts.md: its commands are run in their order, its tables are what the tool prints."""

import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tools.plan_public_parts import MACHINES, PAIRS, plan_of, table

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.cli.main import main
from nim4asr.model.checkpoint import Checkpoint, load
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recognition.events import Partial
from nim4asr.recognition.streaming import Stream
from nim4asr.runtime.torch_network import torch_model
from nim4asr.training.loop.metrics import read_log
from nim4asr.training.loop.states import steps_done
from nim4asr.training.plan import as_text
from nim4asr.training.status import read_status
from recipes.parts import write_corpora, write_qwen3, write_whisper

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/public_parts.md").read_text(encoding="utf-8")
ORDER = ["head", "pretraining", "alignment", "ia-sft", "joint-sft", "context-sft", "rl", "phoneme-head"]
COMMANDS = [shlex.split(line) for line in re.findall(r"^nim4 (.+)$", PAGE, re.MULTILINE)]


def test_the_predictions_are_the_tool_s() -> None:
    rows = re.findall(r"^\| .*(?:parameters|GPU).*$", PAGE, re.MULTILINE)
    assert rows == [line for line in table() if not line.startswith("|---")]
    assert f"```\n{as_text(plan_of(PAIRS[0], MACHINES[0]))}\n```" in PAGE
    assert "predictions by the formulas of `nim4asr.training.costs`, not measurements" in PAGE


def test_the_page_leads_from_parts_to_a_server() -> None:
    kinds = [command[0] for command in COMMANDS]
    assert list(dict.fromkeys(kinds)) == ["new", "train", "runs", "evaluate", "transcribe", "serve"]
    for other in ("README.md", "docs/training.md"):
        assert "public_parts.md" in (ROOT / other).read_text(encoding="utf-8")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page begins with, under the names of the real ones."""
    monkeypatch.chdir(tmp_path)
    write_whisper(tmp_path / "openai/whisper-base")
    write_qwen3(tmp_path / "Qwen/Qwen3-0.6B")
    write_corpora(tmp_path / "corpora", clips=12)
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_page_leads_to_a_served_model_though_killed_on_the_way(
    parts: Path, speech: Floats, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("talk.wav", speech, SAMPLE_RATE)
    for command in COMMANDS:
        if command[0] == "serve":
            _serves(command)
        else:
            assert main(command) == 0, capsys.readouterr().err
    whole = parts / "runs/from-public-parts"
    assert "never trained in chunks" in capsys.readouterr().out
    assert Path("report/alignments.jsonl").exists()
    status = read_status(whole)
    assert [stage.name for stage in status.stages] == ORDER and status.model
    assert all(stage.done == stage.steps for stage in status.stages)
    # The frames have served.
    assert not list((whole / "frames").iterdir())
    _is_trained(load("model"), load(whole / "model"), speech)
    _kill_and_go_on(parts / "cut", whole)


def _is_trained(begun: Checkpoint, trained: Checkpoint, speech: Floats) -> None:
    """An ordinary model of the same blocks, all of which have learnt, which streams as it did not before."""
    before, after = begun.network.state_dict(), trained.network.state_dict()
    assert before.keys() == after.keys() and trained.tokenizer == begun.tokenizer
    for block in ("encoder.", "phoneme_head.", "adaptor.", "llm."):
        names = [name for name in before if name.startswith(block)]
        assert any(not torch.equal(before[name], after[name]) for name in names), block
    assert begun.config.chunks is None and trained.config.chunks == ChunkScheme(16, 4)
    assert any(isinstance(event, Partial) for event in _heard(trained, speech))
    # As it came, it had nothing to say before the end of a segment.
    assert not any(isinstance(event, Partial) for event in _heard(begun, speech))


def _heard(checkpoint: Checkpoint, speech: Floats) -> list[object]:
    stream = Stream(torch_model(checkpoint))
    return [*stream.feed(np.tile(speech, 2)), *stream.finish()]


def _kill_and_go_on(cut: Path, whole: Path) -> None:
    """Train once more, killed in the middle of IA-SFT: logs and weights are those of the run that was not."""
    command = next(command for command in COMMANDS if command[0] == "train" and "--plan" not in command)
    command = [*command, "--output", str(cut)]
    # It begins on the machine that the other found.
    cut.mkdir()
    shutil.copy(whole / "machine.json", cut)
    job = subprocess.Popen([sys.executable, "-m", "nim4asr", *command])
    try:
        while job.poll() is None and not steps_done(cut / "ia-sft"):
            time.sleep(0.01)
    finally:
        job.kill()
        job.wait()
    assert steps_done(cut / "ia-sft") and not (cut / "model").exists()
    assert main(command) == 0
    for name in ORDER:
        assert _logged(cut / name) == _logged(whole / name) != [], name
    one, other = (load(run / "model").network.state_dict() for run in (whole, cut))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def _logged(folder: Path) -> list[dict[str, float]]:
    """The log of a stage without what the clock says."""
    clock = ("seconds_per_step", "waiting_share")
    return [{k: v for k, v in row.items() if k not in clock} for row in read_log(folder)]


def _serves(command: list[str]) -> None:
    """Start the server at a free port, and have a client transcribe."""
    server = subprocess.Popen(
        [sys.executable, "-m", "nim4asr", *command, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        line = next(line for line in server.stderr if "listening at http" in line)
        assert main(["client", "talk.wav", "--server", line.split()[-1].rstrip("/")]) == 0
    finally:
        server.kill()
        server.wait()
        server.stderr.close()
