"""``nim4 serve`` as a process: its address, its refusals, its drain."""

import base64
import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.cli.main import main


@contextmanager
def served(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "nim4asr", "serve", "--port", "0", *options], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("nim4: listening at http"), line
        yield process, line.split()[-1].rstrip("/")
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_it_says_where_it_listens_and_ends_at_sigterm() -> None:
    with served("--alias", "whisper-1") as (process, url):
        with urllib.request.urlopen(f"{url}/v1/models") as response:
            assert [row["id"] for row in json.load(response)["data"]] == ["nano", "whisper-1"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_sigterm_in_a_session_loses_no_final() -> None:
    with served("--drain", "20") as (process, url):
        with connect(url.replace("http", "ws") + "/v1/realtime") as socket:
            pcm = (np.clip(read_audio(CLIP_FOLDER / "en-1.flac"), -1, 1) * 32767).astype("<i2").tobytes()
            format = {"format": {"type": "audio/pcm", "rate": 16000}}
            socket.send(json.dumps({"type": "session.update", "session": {"audio": {"input": format}}}))

            def append(data: bytes) -> None:
                audio = base64.b64encode(data).decode()
                socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))

            append(pcm[:20_000])
            while "speech_started" not in str(socket.recv(timeout=20)):
                pass
            process.send_signal(signal.SIGTERM)
            append(pcm[20_000:])
            socket.send(json.dumps({"type": "input_audio_buffer.commit"}))
            while (row := json.loads(socket.recv(timeout=20)))["type"].rpartition(".")[2] != "completed":
                pass
            assert row["transcript"] == "what do you want"
        assert process.wait(20) == 0


def test_two_processes_share_a_port() -> None:
    with served("--reuse-port") as (first, url):
        port = url.rpartition(":")[2]
        with served("--reuse-port", "--port", port) as (second, other):
            assert other == url
            assert all(_reachable(url) for _ in range(20))
            first.send_signal(signal.SIGTERM)
            assert first.wait(20) == 0
            # The other serves alone.
            assert all(_reachable(url) for _ in range(5)) and second.poll() is None


def _reachable(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/health") as response:
        return bool(response.status == 200)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--host", "0.0.0.0"], "can be reached from elsewhere"),
        (["--certificate", "x.pem"], "go together"),
        (["--certificate", "no.pem", "--private-key", "no.pem"], "no certificate and its key"),
        (["--hotwords", "names.txt"], "NAME=FILE"),
        (["--keys", "none.txt"], "no such file of keys"),
        (["--max-streams", "0"], "room for one stream"),
        (["--port", "99999"], "cannot listen"),
    ],
)
def test_what_cannot_be_served(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NIM4_API_KEY", raising=False)
    assert main(["serve", *options]) == 1
    assert sentence in capsys.readouterr().err


def test_a_key_of_the_environment_lets_it_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIM4_API_KEY", "secret")
    with served("--host", "0.0.0.0") as (_, url):
        request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": "Bearer secret"})
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
