"""Nothing underneath reports on the user: in a plain environment, for the reports cease under ``CI``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nim4asr import telemetry

CLIP = Path(__file__).parent / "clips/zh-1.flac"

# The ways in which a session of onnxruntime comes to be.
WAYS = {
    "the package": "import nim4asr; assert nim4asr.transcribe(sys.argv[1]).text",
    "a module of it": """
from nim4asr.runtime.loading import load
from nim4asr.runtime.onnx_network import OnnxNetwork
network = load().network
""",
    "the command": "from nim4asr.cli.main import main; assert main(['transcribe', sys.argv[1]]) == 0",
    "voice activity alone": """
import numpy
from nim4asr.audio.voice_activity import speech_probabilities
speech_probabilities(numpy.zeros(16_000, numpy.float32))
""",
}


def run(program: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script in an environment of three variables, ``CI`` not among them."""
    script = home.parent / f"{home.name}.py"
    script.write_text(program)
    home.mkdir(exist_ok=True)
    path = os.pathsep.join(one for one in sys.path if one)
    plain = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, script, CLIP],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        cwd=home,
    )


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_stored_about_the_user(way: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run("import sys\n" + WAYS[way], home)
    assert done.returncode == 0, done.stderr
    assert not list(home.rglob("*")), "something was written into the home folder"


def test_processes_that_are_started_are_told_too(tmp_path: Path) -> None:
    done = run(
        """
import os
from nim4asr.processes import parallel_map

def session(number):
    import onnxruntime
    return os.environ["ORT_DISABLE_TELEMETRY"]

if __name__ == "__main__":
    print(list(parallel_map(session, range(4), workers=2)))
""",
        tmp_path / "home",
    )
    assert done.stdout == "['1', '1', '1', '1']\n", done.stderr
    assert not list((tmp_path / "home").rglob("*"))


def test_who_has_decided_is_not_overruled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in telemetry.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    telemetry.switch_off()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"
    assert {name: os.environ[name] for name in telemetry.SWITCHES} == {
        **telemetry.SWITCHES,
        "ORT_DISABLE_TELEMETRY": "0",
    }


def test_a_runtime_that_was_imported_before_is_told_as_well(tmp_path: Path) -> None:
    done = run(
        """
import onnxruntime
told = []
onnxruntime.disable_telemetry_events = lambda: told.append(True)
import nim4asr
print(told)
""",
        tmp_path / "home",
        CI="true",
    )
    assert done.stdout == "[True]\n", done.stderr


def test_the_libraries_know_their_switches(tmp_path: Path) -> None:
    done = run(
        """
import nim4asr
from huggingface_hub import constants
from huggingface_hub.utils import build_hf_headers
print(constants.HF_HUB_DISABLE_TELEMETRY, build_hf_headers()["user-agent"].count("torch"))
""",
        tmp_path / "home",
    )
    assert done.stdout == "True 0\n", done.stderr
