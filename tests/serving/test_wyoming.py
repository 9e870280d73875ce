"""Wyoming, by its own client."""

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.serving.wyoming import serve_wyoming
from serving.conftest import Running


@pytest.fixture
def port(nano: Running) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(serve_wyoming(nano.state, "127.0.0.1", 0), loop).result(10)
    assert server._server is not None
    yield server._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
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


def test_what_is_no_sound(port: int) -> None:
    async def wrong() -> str:
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(AudioStart(16_000, 4, 1).event())
            row = await client.read_event()
            assert row is not None
            return Error.from_event(row).text

    assert "16-bit" in asyncio.run(wrong())
