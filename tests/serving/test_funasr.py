"""FunASR's clients, message by message as they send them."""

import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from serving.conftest import PATIENCE_S, Log, Running

FUNASR: Any = ["binary"]


def clip(name: str) -> Floats:
    return read_audio(CLIP_FOLDER / f"{name}.flac")


def pcm(samples: Floats) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def encoded(samples: Floats, format: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format=format)
    return buffer.getvalue()


def recording(socket: ClientConnection, data: bytes, **settings: Any) -> list[dict[str, Any]]:
    """The rows of one recording, up to the one with ``is_end``."""
    first = {
        "mode": "2pass",
        "chunk_size": [5, 10, 5],
        "chunk_interval": 10,
        "audio_fs": 16000,
        "wav_name": "a",
        "wav_format": "pcm",
        "is_speaking": True,
        "hotwords": json.dumps({"中国人": 20}),
        "itn": True,
    }
    socket.send(json.dumps({**first, **settings}))
    for start in range(0, len(data), 1920):
        socket.send(data[start : start + 1920])
    socket.send(json.dumps({"is_speaking": False, "is_end": True}))
    rows: list[dict[str, Any]] = []
    while not rows or not rows[-1].get("is_end"):
        rows.append(json.loads(socket.recv(timeout=PATIENCE_S)))
    return rows


def test_in_two_passes_one_after_another(nano: Running) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        assert socket.subprotocol == "binary"
        english = recording(socket, pcm(clip("en-1")), wav_name="en-1")
        chinese = recording(socket, pcm(clip("zh-1")), wav_name="zh-1")
    assert [row["text"] for row in english[:-1] if row["mode"] == "2pass-offline"] == ["what do you want"]
    (final,) = (row for row in chinese[:-1] if row["mode"] == "2pass-offline")
    assert final["text"] == "他是中国人" and len(json.loads(final["timestamp"])) == 5
    online = "".join(row["text"] for row in english if row["mode"] == "2pass-online")
    assert "what do you want".startswith(online)
    assert all(row["wav_name"] == "zh-1" for row in chinese)
    assert chinese[-1]["is_final"] and chinese[-1]["error"] is None and not chinese[-1]["text"]


@pytest.mark.parametrize("names", [(), ("en-1",), ("en-1", "zh-1", "zh-2")])
@pytest.mark.parametrize("mode", ["2pass", "online"])
def test_the_last_text_and_it_alone_is_final(nano: Running, mode: str, names: tuple[str, ...]) -> None:
    """Clients that read no further than ``is_final`` have a text there, of files that end in silence too."""
    pause = np.zeros(3 * SAMPLE_RATE, np.float32)
    sound = np.concatenate([pause, *(part for name in names for part in (clip(name), pause))])
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        rows = recording(socket, pcm(sound), mode=mode)
    finals = [row for row in rows[:-1] if row["mode"] == "2pass-offline"]
    assert [row["is_final"] for row in finals] == [False] * (len(finals) - 1) + [True]
    assert len(finals) == max(1, len(names)) and bool(finals[-1]["text"]) == bool(names)
    assert rows[-2] is finals[-1] and rows[-1]["is_end"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (pcm(clip("zh-2")), "pcm"),
        (encoded(clip("zh-2"), "WAV"), "wav"),
        # The samples of a WAV file without its header, as FunASR's own client sends them.
        (pcm(clip("zh-2")), "wav"),
        (encoded(clip("zh-2"), "MP3"), "mp3"),
        (encoded(clip("zh-2"), "FLAC"), "others"),
        (encoded(clip("zh-2"), "OGG"), "ogg"),
    ],
)
@pytest.mark.parametrize("mode", ["offline", "2pass"])
def test_recordings_of_any_format(nano: Running, data: bytes, kind: str, mode: str) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        for _ in range(2):
            rows = recording(socket, data, mode=mode, wav_format=kind)
            texts = [row["text"] for row in rows[:-1] if not row["mode"].endswith("online")]
            if kind == "wav" and mode == "2pass" and data.startswith(b"RIFF"):
                # Live, the header is a click before the words.
                assert len(texts) == 1 and texts[0]
            else:
                assert texts == ["我不知道"]
            assert rows[-2]["is_final"] and rows[-2]["mode"] == (
                "offline" if mode == "offline" else "2pass-offline"
            )
    nano.settle()
    assert nano.state.admission.recordings == 0


def test_hotwords_of_recordings(nano: Running) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        for hotwords in ({"中国人": 20}, json.dumps({"中国人": 20}), "中国人, 北京", ""):
            rows = recording(socket, pcm(clip("zh-1")), mode="offline", hotwords=hotwords)
            assert rows[0]["text"] == "他是中国人" and len(json.loads(rows[0]["timestamp"])) == 5


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        b"abc",
        '{"audio_fs": "fast"}',
        '{"audio_fs": 0}',
        '{"audio_fs": -16000}',
        '{"audio_fs": 1000}',
        '{"audio_fs": 1e400}',
        '{"audio_fs": true}',
        '{"audio_fs": NaN}',
        f'{{"audio_fs": {HUGE}}}',
        f'{{"audio_fs": {HUGE}.5}}',
        '{"wav_name": "\\ud800"}',
        '{"\\udfff": 1}',
        '{"wav_name": {"a": 1}}',
        '{"mode": ["offline"]}',
        '{"mode": "magic"}',
        '{"is_speaking": "no"}',
        '{"wav_format": 3}',
        "[" * 100_000,
        json.dumps({"hotwords": " ".join(f"name{number}s" for number in range(5000))}),
        json.dumps({"hotwords": "x" * 5000}),
    ],
)
def test_what_no_client_would_send(nano: Running, log: Log, message: Any) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        socket.send(message)
        if not isinstance(message, bytes):
            # The server may have refused the message by now, and closed.
            with suppress(ConnectionClosed):
                socket.send(b"\0\0")
        row = json.loads(socket.recv(timeout=PATIENCE_S))
        assert any(word in row["error"] for word in ("expected", "names", "values"))
        assert row["is_end"] and row["is_final"] is False
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    nano.settle()
    assert not log.faults


def test_a_recording_that_is_none(nano: Running, log: Log) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        rows = recording(socket, b"no sound at all", mode="offline", wav_format="mp3")
        assert "not audio" in rows[-1]["error"] and "/" not in rows[-1]["error"]
    nano.settle()
    assert nano.state.admission.recordings == 0 and not log.faults


def test_a_client_that_goes_while_it_sends_a_recording(nano: Running, log: Log) -> None:
    with connect(nano.ws_url, subprotocols=FUNASR) as socket:
        socket.send(json.dumps({"mode": "offline", "wav_format": "mp3", "is_speaking": True}))
        socket.send(bytes(3 << 20))
    log.wait(lambda record: record.name == "nim4asr.serving.sessions")
    nano.settle()
    assert nano.state.admission.recordings == nano.state.admission.sessions == 0 and not log.faults


def test_a_server_that_ends_while_it_recognizes_a_recording_tells_no_text(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """An empty one would be as if nothing were said in it."""
    reading, go = threading.Event(), threading.Event()
    with serve() as server:
        genuine = server.state.worker._read
        monkeypatch.setattr(
            server.state.worker, "_read", lambda *a: (reading.set(), go.wait(PATIENCE_S), genuine(*a))
        )
        with connect(server.ws_url, subprotocols=FUNASR) as socket:
            socket.send(json.dumps({"mode": "offline", "wav_format": "other", "is_speaking": True}))
            socket.send(encoded(clip("en-1"), "FLAC"))
            socket.send(json.dumps({"is_speaking": False}))
            assert reading.wait(PATIENCE_S)
            server.state.lifecycle.close()
            row = json.loads(socket.recv(timeout=PATIENCE_S))
            assert "stops" in row["error"] and not row["is_final"] and "text" not in row
        go.set()
    assert not log.faults
