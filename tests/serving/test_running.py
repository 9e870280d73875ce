"""The end of a server: at a signal nothing new is admitted, and nothing that was said is lost."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from nim4asr.serving.access import Client
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.wyoming import serve_wyoming
from serving.conftest import PATIENCE_S, Log, Running, answer_of, wait_for
from serving.ending import Command, failures
from serving.test_application import CLIP as RECORDING
from serving.test_application import ask, form, transcribe
from serving.test_realtime import CLIP, UPDATE, append, send, until


def drain(server: Running) -> None:
    """As a signal does, in the server's own thread."""
    loop = server.serving.servers[0].get_loop()
    loop.call_soon_threadsafe(server.serving.handle_exit, signal.SIGTERM, None)


def rows(live: ClientConnection) -> Iterator[Any]:
    """The rows until the socket is closed, and then its code."""
    try:
        while True:
            row = live.recv(timeout=PATIENCE_S)
            yield row if row == "Done!" else json.loads(row)
    except ConnectionClosed as closed:
        yield closed.rcvd.code if closed.rcvd else None


@pytest.mark.parametrize("turns", [None, {"type": "server_vad"}])
def test_a_realtime_session_gets_its_last_words(serve: Callable[..., Any], turns: Any, log: Log) -> None:
    with serve(drain_s=0.0) as server, connect(f"{server.ws_url}/v1/realtime") as live:
        live.send(json.dumps(UPDATE))
        send(live, "session.update", session={"audio": {"input": {"turn_detection": turns}}})
        append(live, CLIP)
        # The server has all of it once it has answered what was sent behind it.
        send(live, "nothing")
        until(live, "error")
        drain(server)
        *told, error, code = rows(live)
        (completed,) = (row for row in told if row["type"].endswith(".completed"))
        assert completed["transcript"] == "what do you want"
        assert error["error"]["code"] == "server_stopping" and code == 1001
    assert not log.faults


@pytest.mark.parametrize("subprotocols", [None, ["binary"]])
def test_other_sockets_get_their_last_words(
    serve: Callable[..., Any], subprotocols: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed, seconds = threading.Event(), [0.0]
    from nim4asr.serving.listening import LiveStream

    genuine = LiveStream.feed

    def feed(stream: LiveStream, samples: Any, length: float) -> None:
        genuine(stream, samples, length)
        seconds[0] += length
        if seconds[0] * 16_000 >= len(CLIP) // 2:
            fed.set()

    monkeypatch.setattr(LiveStream, "feed", feed)
    with serve(drain_s=0.0) as server, connect(server.ws_url, subprotocols=subprotocols) as live:
        samples = np.frombuffer(CLIP, "<i2")
        live.send(samples.tobytes() if subprotocols else (samples / 32768).astype("<f4").tobytes())
        assert fed.wait(PATIENCE_S)
        drain(server)
        *told, error, code = rows(live)
        texts = [row["text"] for row in told if row != "Done!"]
        assert "what do you want" in texts and "stops" in error["error"] and code == 1001


def test_a_wyoming_session_gets_its_last_words(serve: Callable[..., Any]) -> None:
    from wyoming.asr import Transcript
    from wyoming.audio import AudioChunk, AudioStart
    from wyoming.client import AsyncTcpClient
    from wyoming.error import Error

    async def talk(server: Running) -> tuple[str, str]:
        listening = await serve_wyoming(server.state, "127.0.0.1", 0)
        async with listening, AsyncTcpClient("127.0.0.1", listening.sockets[0].getsockname()[1]) as client:
            await client.write_event(AudioStart(16_000, 2, 1).event())
            await client.write_event(AudioChunk(16_000, 2, 1, CLIP).event())
            while server.state.worker.backlog_s == 0.0 and not server.state.worker.engine.stats.speech_tokens:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(drain, server)
            text = ""
            while (row := await client.read_event()) is not None:
                if Transcript.is_type(row.type):
                    text = Transcript.from_event(row).text
                if Error.is_type(row.type):
                    return text, Error.from_event(row).text
            return text, ""

    with serve(drain_s=0.0) as server:
        text, error = asyncio.run(talk(server))
    assert text == "what do you want" and "stops" in error


def test_a_session_may_go_on_while_the_server_drains(serve: Callable[..., Any]) -> None:
    with serve(drain_s=PATIENCE_S) as server, connect(f"{server.ws_url}/v1/realtime") as live:
        live.send(json.dumps(UPDATE))
        until(live, "session.updated")
        drain(server)
        wait_for(lambda: ask(server, "GET", "/ready")[0] == 503)
        assert ask(server, "GET", "/ready")[1] == {"status": "draining"}
        with pytest.raises(InvalidStatus) as refused, connect(f"{server.ws_url}/v1/realtime"):
            pass
        assert refused.value.response.status_code == 503
        assert transcribe(server)[0] == 503
        append(live, CLIP)
        send(live, "input_audio_buffer.commit")
        assert until(live, ".completed")["transcript"] == "what do you want"
        # With its last session the server ends.


def test_uploads_at_the_end_of_a_drain_get_the_api_s_own_503(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """One that is recognized, one that waits, one whose events have begun, and one whose body is coming."""
    go = threading.Event()
    with serve(ServerConfig(max_recordings=1), drain_s=0.0) as server:
        worker = server.state.worker
        genuine = worker._read
        monkeypatch.setattr(worker, "_read", lambda *a: (go.wait(PATIENCE_S), genuine(*a))[1])
        answers: list[Any] = []
        clients = [
            threading.Thread(target=lambda extra=extra: answers.append(transcribe(server, *extra)))  # type: ignore[misc]
            for extra in ((), (), (("stream", "true"),))
        ]
        for client in clients:
            client.start()
        body, kind = form([("model", "nano")])
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as coming:
            head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
            coming.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:100])
            wait_for(lambda: server.state.admission.recordings == 4 and worker.under_way == 3)
            drain(server)
            status, answer = answer_of(coming)
            assert status == 503 and json.loads(answer)["error"]["code"] == "server_stopping"
        for client in clients:
            client.join(PATIENCE_S)
        go.set()
    assert sorted(answer[0] for answer in answers) == [200, 503, 503]
    for status, row, headers in answers:
        row = json.loads(row.removeprefix("data: ")) if status == 200 else row
        assert row["error"]["code"] == "server_stopping" and row["error"]["type"] == "server_error"
        assert status == 200 or headers["retry-after"]
    assert not log.faults


def test_uploads_may_end_while_the_server_drains(serve: Callable[..., Any]) -> None:
    with serve(drain_s=PATIENCE_S) as server:
        answers: list[Any] = []
        upload = threading.Thread(target=lambda: answers.append(transcribe(server)))
        place = server.state.admission.session(Client("holds the server up"))
        upload.start()
        wait_for(lambda: server.state.admission.recordings or answers)
        drain(server)
        upload.join(PATIENCE_S)
        place.release()
    assert answers[0][:1] == (200,) and answers[0][1]["text"] == "他是中国人"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_signal_at_any_moment_loses_no_final(seed: int) -> None:
    """``python -m tests.serving.ending`` has as many moments as one likes."""
    assert failures(seed) == []


@pytest.mark.slow
def test_keys_are_read_again_at_sighup(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("one name=first\n")
    with Command("--keys", str(keys)) as command:
        server: Any = command

        def status(key: str) -> int:
            return int(ask(server, "GET", "/v1/models", authorization=f"Bearer {key}")[0])

        def again(text: str) -> None:
            said = len(command.lines)
            keys.write_text(text)
            command.process.send_signal(signal.SIGHUP)
            wait_for(lambda: any("keys" in line for line in command.lines[said:]))

        assert (status("one"), status("two")) == (200, 401)
        again("two name=second\n")
        assert (status("one"), status("two")) == (401, 200)
        # A file that is wrong changes nothing, and the log says what is wrong, without the key.
        again("three color=red\n")
        assert (status("two"), status("three")) == (200, 401)
        assert any("line 1: after the key come" in line for line in command.lines)
        assert not any("three" in line for line in command.lines)
        body, kind = form([("model", "nano")], RECORDING)
        assert (
            ask(
                server,
                "POST",
                "/v1/audio/transcriptions",
                body,
                content_type=kind,
                authorization="Bearer two",
            )[0]
            == 200
        )
        assert 'key="second"' in ask(server, "GET", "/metrics")[1]
        command.process.send_signal(signal.SIGTERM)
        assert command.end() in (0, -signal.SIGTERM)
