"""The WebSocket protocols of sherpa-onnx's and of FunASR's clients, both on ``/``.

sherpa-onnx: binary messages of 32-bit floats at 16 kHz, the text ``Done`` at the end. Answers are JSON rows
with the segment's text so far, and ``Done!`` at the end.

FunASR (2pass): a JSON row with the settings, binary messages of 16-bit PCM, a JSON row with ``is_speaking:
false`` at the end. Answers are JSON rows: ``2pass-online`` with what the text grew by, ``2pass-offline`` with
the final.

FunASR's clients offer the subprotocol ``binary``, sherpa-onnx's none.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from nim4asr.audio.samples import SAMPLE_RATE
from nim4asr.errors import InputError
from nim4asr.hotwords.names import names_in
from nim4asr.recognition.events import Event, Failed, Final, Partial
from nim4asr.recognition.result import Segment
from nim4asr.serving.errors import ApiError
from nim4asr.serving.live import LiveConnection
from nim4asr.serving.sockets import admitted
from nim4asr.serving.state import state_of

_FUNASR = "binary"
_DONE = "Done"


async def adapters(websocket: WebSocket) -> None:
    """Serve a client of either kind."""
    client = await admitted(websocket)
    if client is None:
        return
    funasr = _FUNASR in websocket.scope.get("subprotocols", [])
    await websocket.accept(_FUNASR if funasr else None)
    connection = LiveConnection(state_of(websocket), client)
    adapter = FunAsr(websocket, connection) if funasr else SherpaOnnx(websocket, connection)
    try:
        await adapter.run()
    except (WebSocketDisconnect, RuntimeError, OSError):
        # The client has gone.
        pass
    except (ApiError, InputError) as error:
        with suppress(RuntimeError, WebSocketDisconnect):
            await websocket.send_json({"error": str(error)})
            await websocket.close(1008)
    finally:
        connection.drop()
        state_of(websocket).metrics.sessions.labels("funasr" if funasr else "sherpa-onnx").inc()


class _Adapter:
    """Reads a client and tells it the events of its stream, in two tasks."""

    def __init__(self, websocket: WebSocket, connection: LiveConnection) -> None:
        self._websocket, self._connection = websocket, connection

    async def run(self) -> None:
        hearing = asyncio.create_task(self._hear())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait({hearing, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (hearing, reading):
                task.cancel()
            await asyncio.gather(hearing, reading, return_exceptions=True)

    async def _read(self) -> None:
        raise NotImplementedError

    async def _hear(self) -> None:
        while True:
            _, events = await self._connection.events()
            await self._tell(events)

    async def _rest(self) -> None:
        """Everything that is still to be told after the stream's end."""
        await self._connection.finish()
        for _, events in self._connection.waiting_events():
            await self._tell(events)

    async def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Partial | Final) and (row := self._row(event)) is not None:
                await self._websocket.send_text(json.dumps(row, ensure_ascii=False))

    def _row(self, event: Partial | Final) -> dict[str, Any] | None:
        raise NotImplementedError


class SherpaOnnx(_Adapter):
    """The protocol of sherpa-onnx's streaming server."""

    def __init__(self, websocket: WebSocket, connection: LiveConnection) -> None:
        super().__init__(websocket, connection)
        self._segment = 0

    async def _read(self) -> None:
        await self._connection.open(0)
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (text := message.get("text")) is not None:
                if text.strip() == _DONE:
                    break
                raise InputError(f"expected samples, or the text {_DONE}")
            data = message.get("bytes") or b""
            if len(data) % 4:
                raise InputError("expected 32-bit float samples at 16 kHz")
            samples = np.frombuffer(data, "<f4")
            await self._connection.feed(samples, len(samples) / SAMPLE_RATE)
        await self._rest()
        await self._websocket.send_text(f"{_DONE}!")
        await self._websocket.close()

    def _row(self, event: Partial | Final) -> dict[str, Any] | None:
        if isinstance(event, Partial):
            return self._segment_row(event.stable + event.volatile, False)
        row = self._segment_row(event.segment.text, True, event.segment)
        self._segment += 1
        return row

    def _segment_row(self, text: str, final: bool, segment: Segment | None = None) -> dict[str, Any]:
        words = segment.words if segment else ()
        return {
            "text": text,
            "tokens": [word.text for word in words],
            "timestamps": [round(word.start, 3) for word in words],
            "start_time": round(segment.start, 3) if segment else 0.0,
            "segment": self._segment,
            "is_final": final,
            "is_eof": False,
        }


class FunAsr(_Adapter):
    """The protocol of FunASR's runtime in the mode 2pass; online and offline are subsets of it."""

    def __init__(self, websocket: WebSocket, connection: LiveConnection) -> None:
        super().__init__(websocket, connection)
        self._generation = 0
        self._settings: dict[str, Any] = {}
        self._shown = ""

    async def _read(self) -> None:
        """One recording after another, each begun by ``is_speaking: true`` and ended by false."""
        opened = False
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (text := message.get("text")) is not None:
                row = _settings(text)
                self._settings |= row
                if row.get("is_speaking") is False:
                    if not opened:
                        await self._open()
                    await self._rest()
                    await self._end()
                    opened = False
                continue
            if not opened:
                await self._open()
                opened = True
            data = message.get("bytes") or b""
            if len(data) % 2:
                raise InputError("expected 16-bit samples")
            await self._connection.feed(data, len(data) / 2 / self._rate)

    @property
    def _rate(self) -> int:
        rate = self._settings.get("audio_fs", SAMPLE_RATE)
        if type(rate) is not int:
            raise InputError("audio_fs is a sample rate in Hz")
        return rate

    async def _open(self) -> None:
        self._generation += 1
        self._shown = ""
        await self._connection.open(
            self._generation, sample_rate=self._rate, names=_hotwords(self._settings.get("hotwords"))
        )

    async def _end(self) -> None:
        row = {**self._common("2pass-offline"), "text": "", "is_final": True, "is_end": True}
        await self._websocket.send_text(json.dumps(row, ensure_ascii=False))

    def _row(self, event: Partial | Final) -> dict[str, Any] | None:
        mode = self._settings.get("mode", "2pass")
        if isinstance(event, Partial):
            text = event.stable
            if mode == "offline" or not text.startswith(self._shown) or text == self._shown:
                return None
            grown, self._shown = text[len(self._shown) :], text
            return {**self._common("2pass-online"), "text": grown, "is_final": False}
        self._shown = ""
        segment = event.segment
        if not segment.text:
            return None
        times = [[round(word.start * 1000), round(word.end * 1000)] for word in segment.words]
        return {
            **self._common("offline" if mode == "offline" else "2pass-offline"),
            "text": segment.text,
            "timestamp": json.dumps(times),
            "is_final": False,
        }

    def _common(self, mode: str) -> dict[str, Any]:
        return {"mode": mode, "wav_name": str(self._settings.get("wav_name", ""))}


def _settings(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise InputError("expected a JSON object with the settings, or samples")
    return row


def _hotwords(given: object) -> list[str]:
    """The names of FunASR's field: a JSON object of weights as a string, or words with commas or spaces."""
    if not isinstance(given, str) or not given.strip():
        return []
    try:
        row = json.loads(given)
        if isinstance(row, dict):
            return [str(name) for name in row]
    except (ValueError, RecursionError):
        pass
    return names_in(given)
