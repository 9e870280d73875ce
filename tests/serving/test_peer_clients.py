"""The clients of sherpa-onnx and FunASR themselves, unmodified, where their scripts are at hand.

``NIM4_PEER_CLIENTS`` names a folder with ``online-websocket-client-decode-file.py`` of sherpa-onnx and
``funasr_wss_client.py`` of FunASR.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from serving.conftest import Running

CLIENTS = os.environ.get("NIM4_PEER_CLIENTS")
pytestmark = pytest.mark.skipif(CLIENTS is None, reason="needs the clients of sherpa-onnx and FunASR")


def printed(*command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=60, cwd=CLIENTS
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clip.wav", read_audio(CLIP_FOLDER / "en-1.flac"), 16_000, subtype="PCM_16")
    return tmp_path / "clip.wav"


def test_sherpa_onnx_s_client(nano: Running, clip: Path) -> None:
    script = "online-websocket-client-decode-file.py"
    out = printed(script, "--server-addr", "127.0.0.1", "--server-port", nano.port, clip)
    assert "what do you want" in out


def test_funasr_s_client(nano: Running, clip: Path) -> None:
    options = ["--host", "127.0.0.1", "--port", nano.port, "--mode", "2pass", "--ssl", 0]
    out = printed("funasr_wss_client.py", *options, "--audio_in", clip)
    assert "what do you want" in out
