"""sherpa-onnx's clients, of its streaming server and of its server for recordings, message by message."""

import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from serving.conftest import PATIENCE_S, Log, Running


def clip(name: str) -> Floats:
    return read_audio(CLIP_FOLDER / f"{name}.flac")


def test_streaming(nano: Running) -> None:
    sound = np.concatenate([clip("en-1"), np.zeros(16_000, np.float32), clip("zh-1")])
    with connect(nano.ws_url) as socket:
        for start in range(0, len(sound), 8000):
            socket.send(sound[start : start + 8000].astype("<f4").tobytes())
        socket.send("Done")
        rows = []
        while (message := socket.recv(timeout=PATIENCE_S)) != "Done!":
            rows.append(json.loads(message))
    finals = [row for row in rows if row["is_final"]]
    assert [(row["segment"], row["text"]) for row in finals] == [(0, "what do you want"), (1, "他是中国人")]
    assert finals[1]["tokens"] == list("他是中国人") and len(finals[1]["timestamps"]) == 5
    partials = [row["text"] for row in rows if not row["is_final"]]
    assert partials and all(isinstance(text, str) for text in partials)


@pytest.mark.parametrize(
    "message",
    [
        b"abc",
        "Hello",
        np.array([np.nan], "<f4").tobytes(),
        np.array([np.inf] * 9, "<f4").tobytes(),
        np.array([3e38] * 9, "<f4").tobytes(),
        # A recording that ends before it is whole, with more behind it, or of more than an upload may hold.
        [struct.pack("<II", 16_000, 400), "Done"],
        [struct.pack("<II", 16_000, 4) + bytes(8)],
        [struct.pack("<II", 16_000, 4) + np.array([np.nan], "<f4").tobytes()],
    ],
)
def test_what_no_client_would_send(nano: Running, log: Log, message: Any) -> None:
    with connect(nano.ws_url) as socket:
        # The server may have refused the first by now, and closed.
        with suppress(ConnectionClosed):
            for one in message if isinstance(message, list) else [message]:
                socket.send(one)
            if not isinstance(message, list):
                socket.send("Done")
        row: dict[str, Any] = {}
        while "error" not in row:
            row = json.loads(socket.recv(timeout=PATIENCE_S))
        assert len(row["error"]) > 10
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    nano.settle()
    assert nano.state.admission.recordings == 0 and not log.faults


def send_recording(socket: ClientConnection, samples: Floats, rate: int, piece: int = 10_240) -> None:
    data = struct.pack("<II", rate, 4 * len(samples)) + samples.astype("<f4").tobytes()
    for start in range(0, len(data), piece):
        socket.send(data[start : start + piece])


@pytest.mark.parametrize("piece", [8, 9, 10_240, 1 << 20])
def test_recordings_one_after_another(nano: Running, piece: int) -> None:
    with connect(nano.ws_url) as socket:
        for name, text in (("en-1", "what do you want"), ("zh-1", "他是中国人")):
            if piece < 100:
                # Messages of a few bytes: a second is enough to show that any cutting does.
                send_recording(socket, clip(name)[:800], 16_000, piece)
                assert json.loads(socket.recv(timeout=PATIENCE_S))["text"] == ""
            send_recording(socket, clip(name), 16_000, max(piece, 4096))
            row = json.loads(socket.recv(timeout=PATIENCE_S))
            assert row["text"] == text and len(row["tokens"]) == len(row["timestamps"]) > 0
        send_recording(socket, clip("zh-2")[::2], 8000)
        assert json.loads(socket.recv(timeout=PATIENCE_S))["text"] == "我不知道"
        socket.send("Done")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000
    nano.settle()
    assert nano.state.admission.recordings == 0


def test_a_recording_longer_than_an_upload_is_refused(nano: Running) -> None:
    with connect(nano.ws_url) as socket:
        socket.send(struct.pack("<II", 16_000, 4 * 10**8) + bytes(20 << 20))
        socket.send(bytes(20 << 20))
        assert "25 MiB" in json.loads(socket.recv(timeout=PATIENCE_S))["error"]
    nano.settle()
    assert nano.state.admission.recordings == 0
