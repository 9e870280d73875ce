"""The WebSockets of sherpa-onnx's and FunASR's clients, message by message as those send them."""

import json
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from serving.conftest import Running

FUNASR: Any = ["binary"]


def clip(name: str) -> Floats:
    return read_audio(CLIP_FOLDER / f"{name}.flac")


def test_sherpa_onnx(nano: Running) -> None:
    sound = np.concatenate([clip("en-1"), np.zeros(16_000, np.float32), clip("zh-1")])
    with connect(nano.ws_url) as socket:
        for start in range(0, len(sound), 8000):
            socket.send(sound[start : start + 8000].astype("<f4").tobytes())
        socket.send("Done")
        rows = []
        while (message := socket.recv(timeout=30)) != "Done!":
            rows.append(json.loads(message))
    finals = [row for row in rows if row["is_final"]]
    assert [(row["segment"], row["text"]) for row in finals] == [(0, "what do you want"), (1, "他是中国人")]
    assert finals[1]["tokens"] == list("他是中国人") and len(finals[1]["timestamps"]) == 5
    partials = [row["text"] for row in rows if not row["is_final"]]
    assert partials and all(isinstance(text, str) for text in partials)


@pytest.mark.parametrize("message", [b"abc", "Hello", np.array([np.nan], "<f4").tobytes()])
def test_what_sherpa_onnx_would_not_send(nano: Running, message: Any) -> None:
    with connect(nano.ws_url) as socket:
        socket.send(message)
        assert "expected" in (row := json.loads(socket.recv(timeout=30)))["error"] or "NaN" in row["error"]
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)


def funasr_rows(nano: Running, mode: str, *names: str) -> list[list[dict[str, Any]]]:
    """The rows of several recordings, one after another on one socket."""
    answers = []
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        assert socket.subprotocol == "binary"
        for name in names:
            settings = {
                "mode": mode,
                "chunk_size": [5, 10, 5],
                "chunk_interval": 10,
                "audio_fs": 16000,
                "wav_name": name,
                "wav_format": "pcm",
                "is_speaking": True,
                "hotwords": json.dumps({"中国人": 20}),
                "itn": True,
            }
            socket.send(json.dumps(settings))
            pcm = (np.clip(clip(name), -1, 1) * 32767).astype("<i2").tobytes()
            for start in range(0, len(pcm), 1920):
                socket.send(pcm[start : start + 1920])
            socket.send(json.dumps({"is_speaking": False}))
            rows = []
            while not (row := json.loads(socket.recv(timeout=30))).get("is_end"):
                rows.append(row)
            assert row["is_final"] and row["wav_name"] == name
            answers.append(rows)
    return answers


def test_funasr_in_two_passes(nano: Running) -> None:
    english, chinese = funasr_rows(nano, "2pass", "en-1", "zh-1")
    assert [row["text"] for row in english if row["mode"] == "2pass-offline"] == ["what do you want"]
    (final,) = (row for row in chinese if row["mode"] == "2pass-offline")
    assert final["text"] == "他是中国人" and len(json.loads(final["timestamp"])) == 5
    online = "".join(row["text"] for row in english if row["mode"] == "2pass-online")
    assert "what do you want".startswith(online)


def test_funasr_offline(nano: Running) -> None:
    (rows,) = funasr_rows(nano, "offline", "zh-2")
    assert [(row["mode"], row["text"]) for row in rows] == [("offline", "我不知道")]


@pytest.mark.parametrize("message", ["{", "[]", b"abc"])
def test_what_funasr_would_not_send(nano: Running, message: Any) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        socket.send(message)
        assert "expected" in json.loads(socket.recv(timeout=30))["error"]
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)


def test_a_sample_rate_of_funasr_that_is_no_number(nano: Running) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        socket.send(json.dumps({"audio_fs": "fast"}))
        # The rate is read with the first samples.
        socket.send(b"\0\0")
        assert "audio_fs" in json.loads(socket.recv(timeout=30))["error"]
