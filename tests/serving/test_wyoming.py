"""Wyoming, by its own client; and what no client of it would send."""

import asyncio
import errno
import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.serving.access import Client
from nim4asr.serving.errors import ApiError
from nim4asr.serving.live import ClientGone, LiveConnection
from nim4asr.serving.wyoming import Wyoming, WyomingWire, serve_wyoming
from serving.conftest import PATIENCE_S, Log, Running, wait_for


@pytest.fixture
def port(nano: Running) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve_wyoming(nano.state, "127.0.0.1", 0), loop).result(
        PATIENCE_S
    )
    yield server.sockets[0].getsockname()[1]

    async def stop() -> None:
        server.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    asyncio.run_coroutine_threadsafe(stop(), loop).result(PATIENCE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE_S)
    loop.close()


async def transcribed(port: int, name: str, channels: int = 1) -> tuple[list[str], str]:
    pcm = np.repeat((read_audio(CLIP_FOLDER / f"{name}.flac") * 32767).astype("<i2"), channels).tobytes()
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Describe().event())
        row = await client.read_event()
        assert row is not None
        info = Info.from_event(row)
        assert info.asr[0].models[0].languages == ["zh", "en"] and info.asr[0].supports_transcript_streaming
        await client.write_event(Transcribe(transcript_terms=["中国人"]).event())
        await client.write_event(AudioStart(16_000, 2, channels).event())
        for start in range(0, len(pcm), 4096):
            await client.write_event(AudioChunk(16_000, 2, channels, pcm[start : start + 4096]).event())
        await client.write_event(AudioStop().event())
        chunks: list[str] = []
        while (row := await client.read_event()) is not None:
            if TranscriptChunk.is_type(row.type):
                chunks.append(TranscriptChunk.from_event(row).text)
            if Transcript.is_type(row.type):
                return chunks, Transcript.from_event(row).text
    raise AssertionError("no transcript")


def test_a_satellite(port: int) -> None:
    assert asyncio.run(transcribed(port, "zh-1")) == (["他是中国人"], "他是中国人")
    assert asyncio.run(transcribed(port, "en-1", channels=2))[1] == "what do you want"


def test_several_recordings_on_one_connection(port: int) -> None:
    """As voice-assistant pipelines do that keep their connection; a start before a stop forgets what was
    said.
    """
    pcm = (read_audio(CLIP_FOLDER / "zh-1.flac") * 32767).astype("<i2").tobytes()

    async def talk() -> list[str]:
        texts = []
        async with AsyncTcpClient("127.0.0.1", port) as client:
            for _ in range(2):
                await client.write_event(AudioStart(16_000, 2, 1).event())
                await client.write_event(AudioChunk(16_000, 2, 1, pcm[:20_000]).event())
                await client.write_event(AudioStart(16_000, 2, 1).event())
                # Without a start, a chunk is one.
                await client.write_event(AudioChunk(16_000, 2, 1, pcm).event())
                await client.write_event(AudioStop().event())
                while (row := await client.read_event()) is not None and not Transcript.is_type(row.type):
                    pass
                assert row is not None
                texts.append(Transcript.from_event(row).text)
        return texts

    assert asyncio.run(talk()) == ["他是中国人"] * 2


def line(**row: Any) -> bytes:
    return json.dumps(row).encode() + b"\n"


START = line(type="audio-start", data={"rate": 16000, "width": 2, "channels": 1})
NO_MESSAGES = [
    b"\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff\xfe\n",
    b"x" * 100_000 + b"\n",
    b"[" * 50_000 + b"\n",
    line(type=3),
    line(type="audio-start"),
    line(type="audio-start", data=[]),
    line(type="audio-start", data={"rate": 16000, "width": 4, "channels": 1}),
    line(type="audio-start", data={"rate": 0, "width": 2, "channels": 1}),
    line(type="audio-start", data={"rate": 10**400, "width": 2, "channels": 1}),
    line(type="audio-start", data={"rate": "16000", "width": 2, "channels": 1}),
    line(type="audio-start", data={"rate": 16000, "width": 2, "channels": 10**9}),
    line(type="audio-start", data={"rate": 16000, "width": 2, "channels": 0}),
    b'{"type": "audio-start", "data": {"rate": NaN, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 1e999, "width": 2, "channels": 1}}\n',
    line(type="audio-chunk", data={"rate": 16000, "width": 2, "channels": 1}, payload_length=3) + b"abc",
    line(type="audio-chunk", payload_length=10**12),
    line(type="audio-chunk", payload_length=-1),
    line(type="audio-chunk", payload_length=1.5),
    line(type="audio-chunk", payload_length=True),
    line(type="transcribe", data_length=10**12),
    line(type="transcribe", data_length=3) + b"abc",
    line(type="transcribe", data_length=2) + b"[]",
    line(type="transcribe", data={"transcript_terms": "abc"}),
    line(type="transcribe", data={"transcript_terms": [1]}),
    b'{"type": "transcribe", "data": {"transcript_terms": ["\\ud800"]}}\n',
    line(type="transcribe", data={"transcript_terms": ["x" * 1000]}) + START,
    START
    + line(type="audio-chunk", data={"rate": 16000, "width": 2, "channels": 1}, payload_length=1)
    + b"a",
]


async def answer(port: int, data: bytes) -> list[dict[str, Any]]:
    """The messages that come back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        found = []
        async with asyncio.timeout(PATIENCE_S):
            while head := await reader.readline():
                row = json.loads(head)
                found.append({**row, "data": json.loads(await reader.readexactly(row["data_length"]))})
        return found
    finally:
        writer.close()


@pytest.mark.parametrize("data", NO_MESSAGES, ids=range(len(NO_MESSAGES)))
def test_what_is_no_message_is_an_error_of_the_protocol(
    nano: Running, port: int, log: Log, data: bytes
) -> None:
    row = asyncio.run(answer(port, data))[-1]
    assert row["type"] == "error" and row["data"]["text"] and row["data"]["code"]
    log.wait(lambda record: record.name == "nim4asr.serving.sessions")
    assert not log.faults
    nano.settle()


def test_a_connection_that_breaks_off_leaves_nothing(nano: Running, port: int, log: Log) -> None:
    async def break_off(data: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        await writer.drain()
        writer.close()

    pieces = [b"", b"{", START[:20], START, START + line(type="audio-chunk", payload_length=9) + b"abc"]
    for data in pieces:
        asyncio.run(break_off(data))
    for number in range(len(pieces)):
        log.wait(lambda _, number=number: len(log.records) > number)  # type: ignore[misc]
    nano.settle()
    assert nano.state.admission.sessions == 0 and not log.faults


def test_who_comes_too_many_hears_so(nano: Running, port: int) -> None:
    places = [
        nano.state.admission.session(Client("x", local=True)) for _ in range(nano.state.config.max_streams)
    ]
    try:
        (row,) = asyncio.run(answer(port, b""))
        assert row["type"] == "error" and row["data"]["code"] == "server_busy"
    finally:
        for place in places:
            place.release()


@pytest.mark.parametrize("full", [False, True])
def test_the_last_row_is_not_lost_to_who_goes_on_sending(nano: Running, port: int, full: bool) -> None:
    """A satellite streams while it is told that there is no place for it, or that it is wrong."""

    async def talk() -> dict[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"{}\n" + bytes(1 << 20))
        async with asyncio.timeout(PATIENCE_S):
            # A connection that is reset gives no more of what has come before.
            while not reader.at_eof() and reader.exception() is None and not reader._eof:  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
            row = json.loads(await reader.readline())
        writer.close()
        return dict(row)

    count = nano.state.config.max_streams if full else 0
    places = [nano.state.admission.session(Client("x", local=True)) for _ in range(count)]
    try:
        assert asyncio.run(talk())["type"] == "error"
    finally:
        for place in places:
            place.release()
    nano.settle()
    wait_for(lambda: nano.state.admission.sessions == 0)


def test_an_error_by_the_package_s_own_client(port: int) -> None:
    async def wrong() -> str:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(AudioStart(16_000, 4, 1).event())
            row = await client.read_event()
            assert row is not None
            return Error.from_event(row).text

    assert "16-bit" in asyncio.run(wrong())


def test_faults_of_the_server_are_logged(
    nano: Running, port: int, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(nano.state.worker.engine, "open", broken)
    row = asyncio.run(answer(port, START))[-1]
    assert row["data"]["code"] == "server_error" and "CUDA" not in row["data"]["text"]
    record = log.wait(lambda record: record.exc_info is not None)
    assert "CUDA out of memory" in str(record.exc_info[1])  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "code"), [(400, "bad-request"), (499, "bad-request"), (500, "server-error")]
)
def test_an_error_without_a_code_says_whose_it_is(nano: Running, status: int, code: str) -> None:
    written = Wyoming(nano.state, cast("LiveConnection[Event]", None)).error(ApiError(status, "no"))
    assert code in written.decode()


def test_a_network_that_breaks_down_is_a_client_that_has_gone(log: Log) -> None:
    """Such as no route to the host, which is no ``ConnectionError``."""

    class Broken:
        async def fail(self, *args: object) -> bytes:
            raise OSError(errno.EHOSTUNREACH, "No route to host")

        readexactly = readuntil = drain = wait_closed = fail

        read = fail

        def can_write_eof(self) -> bool:
            return False

        def write(self, data: bytes) -> None:
            pass

        def close(self) -> None:
            pass

    async def run() -> None:
        wire = WyomingWire(Broken(), Broken())  # type: ignore[arg-type]
        for act in (wire.receive(), wire.send(b"x"), wire.close(None)):
            with pytest.raises(ClientGone):
                await act

    asyncio.run(run())
