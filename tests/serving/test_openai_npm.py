"""OpenAI's npm package, unmodified, over TLS, which its Realtime client insists on.

``NIM4_NODE_MODULES`` names a folder with ``openai`` and ``ws`` in it (``npm install openai ws``).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import CLIP_FOLDER
from nim4asr.serving.configuration import ServerConfig
from serving.test_openai_sdk import pcm

NODE, MODULES = shutil.which("node"), os.environ.get("NIM4_NODE_MODULES")


@pytest.mark.skipif(NODE is None or MODULES is None, reason="needs Node and OpenAI's npm package")
def test_the_npm_package(serve: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext {names}"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made.split(), *files], check=True, capture_output=True)
    (tmp_path / "clip.pcm").write_bytes(pcm(CLIP_FOLDER / "en-1.flac"))
    with serve(ServerConfig(keys=frozenset({"secret"})), None, (certificate, key)) as server:
        done = subprocess.run(
            [
                str(NODE),
                str(Path(__file__).with_name("openai_client.mjs")),
                f"https://localhost:{server.port}",
                "secret",
                str(CLIP_FOLDER / "en-1.flac"),
                str(tmp_path / "clip.pcm"),
            ],
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate)},
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["models"] == ["nano"] and found["json"] == found["transcript"] == "what do you want"
    assert [word["word"] for word in found["verbose"]["words"]] == ["what", "do", "you", "want"]
    assert found["srt"].startswith("1\n00:00:00,")
    assert found["events"] == ["transcript.text.delta", "transcript.text.done"]
    assert found["errors"] == [
        ["NotFoundError", 404, "model_not_found"],
        ["BadRequestError", 400, "unsupported_value"],
    ]
    kinds = ["session.created", "session.updated", "input_audio_buffer.speech_started"]
    assert found["realtime"][:3] == kinds
