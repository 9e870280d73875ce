"""Realtime over real sockets: clients that vanish, talk nonsense, do not read, or come too many."""

import base64
import json
import logging
import secrets
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recognition.configuration import RecognitionConfig
from nim4asr.recognition.offline import Recognizer
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.listening import LiveStream
from serving.conftest import PATIENCE_S, Log, Running
from serving.test_application import ask

CLIP = (np.clip(read_audio(CLIP_FOLDER / "en-1.flac"), -1, 1) * 32767).astype("<i2").tobytes()
UPDATE = {
    "type": "session.update",
    "session": {
        "type": "transcription",
        "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}},
    },
}


def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def append(socket: ClientConnection, data: bytes) -> None:
    send(socket, "input_audio_buffer.append", audio=base64.b64encode(data).decode())


def until(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        row: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE_S))
        if row["type"].endswith(kind):
            return row


@pytest.mark.parametrize("size", [320, 1234, 100_000])
def test_any_cutting_of_the_sound_gives_the_same_text(nano: Running, size: int) -> None:
    size -= size % 2
    with connect(f"{nano.ws_url}/v1/realtime", max_size=None) as socket:
        socket.send(json.dumps(UPDATE))
        for start in range(0, len(CLIP), size):
            append(socket, CLIP[start : start + size])
        send(socket, "input_audio_buffer.commit")
        assert until(socket, ".completed")["transcript"] == "what do you want"
    nano.settle()


@pytest.mark.parametrize("context", ["chunks", "whole"])
def test_finals_of_whole_segments_are_those_of_recordings(serve: Callable[..., Any], context: Any) -> None:
    """What is heard again tells, where chunks have another text."""
    clip, silence = read_audio(CLIP_FOLDER.parents[1] / "demo/en-2.flac"), np.zeros(SAMPLE_RATE, np.float32)
    sound = np.concatenate([clip, silence])
    with serve(ServerConfig(final_context=context)) as server:
        model = server.state.worker.model
        chunks = ChunkScheme(16, 4) if context == "chunks" else None
        offline = Recognizer(model, RecognitionConfig(chunks=chunks))
        expected = [s.text for s in offline.transcribe(sound, sample_rate=SAMPLE_RATE).segments]
        with connect(f"{server.ws_url}/v1/realtime", max_size=None) as socket:
            socket.send(json.dumps(UPDATE))
            append(socket, (np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
            found = [until(socket, ".completed")["transcript"] for _ in expected]
    assert found == expected and any(found)


def test_a_hundred_clients_that_vanish_leave_nothing(nano: Running, log: Log) -> None:
    def vanish(number: int) -> None:
        with connect(f"{nano.ws_url}/v1/realtime") as socket:
            socket.send(json.dumps(UPDATE))
            append(socket, CLIP[: (number % 10) * 6400])
            # Without a closing handshake.
            socket.socket.close()

    before = {thread.name for thread in threading.enumerate()}
    for start in range(0, 100, 10):
        clients = [threading.Thread(target=vanish, args=(start + i,)) for i in range(10)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(PATIENCE_S)
    nano.settle()
    for number in range(100):
        log.wait(lambda _, number=number: sum(map(_is_session, log.records)) > number)  # type: ignore[misc]
    assert nano.state.admission.sessions == 0 and not log.faults
    # Threads of pools, which are kept, are named.
    started = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in started if not name.startswith(("asyncio_", "AnyIO", "opener", "reader"))]


def _is_session(record: logging.LogRecord) -> bool:
    return record.name == "nim4asr.serving.sessions"


def test_a_thousand_messages_of_nonsense(nano: Running) -> None:
    random = np.random.default_rng(0)
    with connect(f"{nano.ws_url}/v1/realtime") as socket:
        until(socket, "session.created")
        for _ in range(1000):
            nonsense = random.bytes(int(random.integers(1, 60)))
            socket.send(nonsense if random.random() < 0.5 else nonsense.decode("latin-1"))
            assert until(socket, "error")["error"]["code"] in (
                "invalid_json",
                "unknown_event",
                "invalid_value",
            )
        socket.send(json.dumps(UPDATE))
        append(socket, CLIP)
        send(socket, "input_audio_buffer.commit")
        assert until(socket, ".completed")["transcript"] == "what do you want"
    nano.settle()


def test_a_client_who_does_not_read_holds_nobody_up(nano: Running) -> None:
    with connect(f"{nano.ws_url}/v1/realtime", max_queue=1) as deaf:
        # Errors are long; nobody reads them.
        thread = threading.Thread(target=_shout, args=(deaf,), daemon=True)
        thread.start()
        with connect(f"{nano.ws_url}/v1/realtime") as socket:
            socket.send(json.dumps(UPDATE))
            append(socket, CLIP)
            send(socket, "input_audio_buffer.commit")
            assert until(socket, ".completed")["transcript"] == "what do you want"
        deaf.socket.close()
    nano.settle()


def _shout(socket: ClientConnection) -> None:
    try:
        for _ in range(3000):
            socket.send(json.dumps({"type": secrets.token_hex(40)}))
    except (ConnectionClosed, OSError):
        pass


def test_sound_far_ahead_is_not_read(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of sound at once: the client is slowed down, and what the server holds stays bounded."""
    waiting, heard, enough = list[float](), [0.0], threading.Event()
    genuine = LiveStream.feed

    def feed(stream: LiveStream, samples: Any, seconds: float) -> None:
        genuine(stream, samples, seconds)
        waiting.append(stream.waiting_s)
        heard[0] += seconds
        if heard[0] > 20:
            enough.set()

    monkeypatch.setattr(LiveStream, "feed", feed)
    with serve(ServerConfig(max_backlog_s=2.0)) as server, connect(f"{server.ws_url}/v1/realtime") as socket:
        socket.send(json.dumps(UPDATE))

        def flood() -> None:
            try:
                for _ in range(2000):
                    append(socket, CLIP)
            except (ConnectionClosed, OSError):
                pass

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        assert enough.wait(PATIENCE_S)
        assert 0.0 < max(waiting) <= 2.5 and thread.is_alive()
        socket.socket.close()
        thread.join(PATIENCE_S)
        server.settle()


def test_the_largest_append_fits_and_stops_nobody(nano: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """15 MiB, as documented, at the lowest rate: half an hour in one message. Others go on, and so does
    /health.
    """
    slices = list[float]()
    genuine = LiveStream.feed

    def feed(stream: LiveStream, samples: Any, seconds: float) -> None:
        slices.append(seconds)
        genuine(stream, samples, seconds)

    monkeypatch.setattr(LiveStream, "feed", feed)
    with connect(f"{nano.ws_url}/v1/realtime") as huge, connect(f"{nano.ws_url}/v1/realtime") as socket:
        format_ = {"format": {"type": "audio/pcm", "rate": 4000}}
        send(huge, "session.update", session={"audio": {"input": format_}})
        until(huge, "session.updated")
        append(huge, bytes(15 << 20))
        socket.send(json.dumps(UPDATE))
        append(socket, CLIP)
        send(socket, "input_audio_buffer.commit")
        assert until(socket, ".completed")["transcript"] == "what do you want"
        assert max(slices) <= 0.5 and ask(nano, "GET", "/health")[0] == 200
        # More than the documented is refused, and the session goes on.
        append(huge, bytes((15 << 20) + 6))
        huge.socket.close()
    nano.settle()


def test_an_append_that_is_too_long_is_refused_alone(nano: Running) -> None:
    with connect(f"{nano.ws_url}/v1/realtime") as socket:
        append(socket, bytes((15 << 20) + 6))
        assert "15 MiB" in until(socket, "error")["error"]["message"]
        socket.send(json.dumps(UPDATE))
        assert until(socket, "session.updated")


def test_who_comes_too_many_is_refused_before_the_handshake(serve: Callable[..., Any]) -> None:
    """One that has said nothing yet counts, in every protocol."""
    with serve(ServerConfig(max_streams=1)) as server:
        with connect(f"{server.ws_url}/v1/realtime") as first:
            until(first, "session.created")
            for path, protocols in (("/", None), ("/", ["binary"])):
                with (
                    pytest.raises(InvalidStatus) as refused,
                    connect(f"{server.ws_url}{path}", subprotocols=protocols),  # type: ignore[arg-type]
                ):
                    pass
                assert refused.value.response.status_code == 503
            with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/v1/realtime"):
                pass
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["retry-after"]
        server.settle()
        with connect(f"{server.ws_url}/v1/realtime") as again:
            assert until(again, "session.created")


def test_a_session_ends_in_its_time(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(max_session_s=0.5)) as server, connect(f"{server.ws_url}/v1/realtime") as socket:
        assert until(socket, "error")["error"]["code"] == "session_expired"
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_S)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1000


def test_keys_in_headers_and_in_subprotocols(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(keys=frozenset({"secret"}))) as server:
        url = f"{server.ws_url}/v1/realtime"
        for options in ({}, {"additional_headers": {"Authorization": "Bearer wrong"}}):
            with pytest.raises(InvalidStatus) as refused, connect(url, **options):
                pass
            assert refused.value.response.status_code == 401
        with connect(url, additional_headers={"Authorization": "Bearer secret"}) as socket:
            assert until(socket, "session.created")
        protocols: Any = ["realtime", "openai-insecure-api-key.secret"]
        with connect(url, subprotocols=protocols) as socket:
            assert socket.subprotocol == "realtime" and until(socket, "session.created")
