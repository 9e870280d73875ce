"""LiveKit's and pipecat's agents with their own plug-ins for OpenAI, by the code that docs/serving.md shows.

They are run where their packages are: in this environment, or by the interpreter that ``NIM4_AGENTS_PYTHON``
names, whose requirements are its own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from serving.conftest import PATIENCE_S, Running

DOCS = Path(__file__).parents[2] / "docs/serving.md"
PYTHON = os.environ.get("NIM4_AGENTS_PYTHON", sys.executable)
PACKAGES = {"livekit": "livekit.plugins.openai", "pipecat": "pipecat.services.openai.stt"}
RATE = 24_000


def has(package: str) -> bool:
    name = package.partition(".")[0]
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([PYTHON, "-c", code], capture_output=True).returncode == 0


needs = [
    # NIM4_AGENTS_PYTHON is the Python of an environment that has them.
    pytest.param(name, marks=pytest.mark.skipif(not has(package), reason="needs LiveKit's agents or pipecat"))
    for name, package in PACKAGES.items()
]
pytestmark = pytest.mark.slow


def snippet(agent: str, server: Running) -> str:
    """The code of the documentation for this server."""
    for code in re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL):
        if f"from {agent}." in code:
            return str(code).replace("localhost:8000", f"127.0.0.1:{server.port}")
    raise AssertionError(f"docs/serving.md has no code for {agent}")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A question, its answer, and both with a pause of about a second between them."""
    first, second = (read_audio(CLIP_FOLDER / f"{clip}.flac") for clip in ("en-1", "zh-1"))
    folder = tmp_path_factory.mktemp("agents")
    sounds = {"first": first, "second": second, "both": np.concatenate([first, np.zeros(8000), second])}
    for name, sound in sounds.items():
        padded = np.concatenate([np.zeros(8000), sound])
        soundfile.write(folder / f"{name}.wav", soxr.resample(padded, 16_000, RATE), RATE, subtype="PCM_16")
    return folder / "first.wav", folder / "second.wav", folder / "both.wav"


def run(agent: str, code: str, *speech: Path) -> tuple[list[str], list[str]]:
    """The finals that the agent hears, and the texts of its turns."""
    done = subprocess.run(
        [PYTHON, str(Path(__file__).with_name(f"{agent}_agent.py")), *map(str, speech)],
        input=code,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    finals, turns = ([row[kind] for row in rows if kind in row] for kind in ("final", "turn"))
    return finals, turns


@pytest.mark.parametrize("agent", needs)
def test_turns_end_after_the_pause_that_the_agent_asks_for(
    nano: Running, speech: tuple[Path, Path, Path], agent: str
) -> None:
    first, second, both = speech
    code = snippet(agent, nano)
    finals, turns = run(agent, code, first, second)
    assert finals == turns == ["what do you want", "他是中国人"]
    # Whoever pauses for a second is not cut off by an agent that waits longer.
    asked = '"silence_duration_ms": 500'
    assert asked in code
    finals, turns = run(agent, code.replace(asked, '"silence_duration_ms": 2500'), both)
    assert finals == turns and len(turns) == 1 and turns[0].startswith("what do you want")
    nano.settle()
