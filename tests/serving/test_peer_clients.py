"""The clients of sherpa-onnx and FunASR themselves, unmodified, where they are at hand.

``NIM4_PEER_CLIENTS`` names a folder with sherpa-onnx's ``online-websocket-client-decode-file.py`` and
``offline-websocket-client-decode-files-sequential.py`` and FunASR's ``funasr_wss_client.py``;
``NIM4_FUNASR_PYTHON`` an interpreter that has the package funasr-python (0.1.5), whose requirements are its
own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from serving.conftest import PATIENCE_S, Running

CLIENTS, PYTHON = os.environ.get("NIM4_PEER_CLIENTS"), os.environ.get("NIM4_FUNASR_PYTHON")
needs_clients = pytest.mark.skipif(CLIENTS is None, reason="needs the clients of sherpa-onnx and FunASR")
needs_python = pytest.mark.skipif(PYTHON is None, reason="needs the clients of sherpa-onnx and FunASR")

# A file, by the package's own client; prints the text.
FUNASR_PYTHON = """
import asyncio, sys
from funasr_client import AsyncFunASRClient

async def main(url, mode, path):
    client = AsyncFunASRClient(server_url=url, mode=mode, timeout=100)
    print((await client.recognize_file(path)).text)
    await client.close()

asyncio.run(main(*sys.argv[1:]))
"""


def printed(*command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=PATIENCE_S, cwd=CLIENTS
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "clip.wav", read_audio(CLIP_FOLDER / "en-1.flac"), 16_000, subtype="PCM_16")
    return tmp_path / "clip.wav"


@needs_clients
def test_sherpa_onnx_s_client(nano: Running, clip: Path) -> None:
    script = "online-websocket-client-decode-file.py"
    out = printed(script, "--server-addr", "127.0.0.1", "--server-port", nano.port, clip)
    assert "what do you want" in out


@needs_clients
def test_sherpa_onnx_s_client_for_recordings(nano: Running, clip: Path) -> None:
    script = "offline-websocket-client-decode-files-sequential.py"
    out = printed(script, "--server-addr", "127.0.0.1", "--server-port", nano.port, clip, clip)
    assert out.count("what do you want") == 2


@needs_python
@pytest.mark.parametrize("mode", ["offline", "online", "2pass"])
@pytest.mark.parametrize("silence_s", [0.0, 3.0])
def test_funasr_python(nano: Running, tmp_path: Path, mode: str, silence_s: float) -> None:
    sound = np.concatenate([read_audio(CLIP_FOLDER / "en-1.flac"), np.zeros(round(silence_s * 16_000))])
    soundfile.write(tmp_path / "clip.wav", sound, 16_000, subtype="PCM_16")
    arguments = [nano.ws_url, mode, str(tmp_path / "clip.wav")]
    done = subprocess.run(
        [str(PYTHON), "-c", FUNASR_PYTHON, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.stdout.splitlines()[-1:] == ["what do you want"], done.stderr[-2000:]


@needs_clients
def test_funasr_s_client(nano: Running, clip: Path) -> None:
    options = ["--host", "127.0.0.1", "--port", nano.port, "--mode", "2pass", "--ssl", 0]
    out = printed("funasr_wss_client.py", *options, "--audio_in", clip)
    assert "what do you want" in out
