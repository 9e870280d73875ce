"""docs/public_parts.md: its commands are run in their order, its tables are what the tool prints."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tools.plan_public_parts import MACHINES, PAIRS, plan_of, table

from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.cli.main import main
from nim4asr.training.plan import as_text
from recipes.parts import write_corpora, write_qwen3, write_whisper

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/public_parts.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line) for line in re.findall(r"^nim4 (.+)$", PAGE, re.MULTILINE)]


def test_the_predictions_are_the_tool_s() -> None:
    rows = re.findall(r"^\| .*(?:parameters|GPU).*$", PAGE, re.MULTILINE)
    assert rows == [line for line in table() if not line.startswith("|---")]
    assert f"```\n{as_text(plan_of(PAIRS[0], MACHINES[0]))}\n```" in PAGE
    assert "predictions by the formulas of `nim4asr.training.costs`, not measurements" in PAGE


def test_the_page_leads_from_parts_to_a_server() -> None:
    kinds = [command[0] for command in COMMANDS]
    assert list(dict.fromkeys(kinds)) == ["new", "train", "runs", "evaluate", "transcribe", "serve", "export"]
    for other in ("README.md", "docs/training.md"):
        assert "public_parts.md" in (ROOT / other).read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_command_on_the_page_runs(
    tmp_path: Path, speech: Floats, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Under the names of the real ones.
    write_whisper(tmp_path / "openai/whisper-base")
    write_qwen3(tmp_path / "Qwen/Qwen3-0.6B")
    write_corpora(tmp_path / "corpora", clips=18)
    soundfile.write("talk.wav", speech, SAMPLE_RATE)
    for command in COMMANDS:
        if command[0] == "serve":
            _serves(command)
        else:
            assert main(command) == 0, capsys.readouterr().err
    assert sorted(path.name for path in Path("runs/from-public-parts/model").glob("*.onnx")) == [
        "encoder.onnx",
        "encoder_chunk.onnx",
        "language_model.onnx",
    ]
    assert Path("report/alignments.jsonl").exists()


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
