"""Whole recordings, of whatever protocol: spooled to the disk, recognized by a reader, given up with whoever
asked.
"""

import asyncio
import os
import struct
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from nim4asr.errors import InputError, OverloadedError
from nim4asr.recognition.result import Segment, Transcript
from nim4asr.serving.access import Client
from nim4asr.serving.admission import Place
from nim4asr.serving.errors import ApiError
from nim4asr.serving.models import Lease
from nim4asr.serving.reading import RecordingLimits, RecordingOptions
from nim4asr.serving.state import State

# What is smaller stays in memory.
_IN_MEMORY = 1 << 20


class Spool:
    """A recording as it comes: in memory while it is small, then in a file of its own, which ``close``
    removes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._path: Path | None = None
        self._file: IO[bytes] | None = None
        # Whoever writes may be cancelled while a thread of its goes on.
        self._lock, self._closed = threading.Lock(), False
        self.size = 0

    async def write(self, data: bytes) -> None:
        """Add ``data``. Raises ``ApiError`` 413 beyond the longest upload, ``OSError`` for a disk that is
        full.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            raise ApiError(
                413, f"the recording is over {self._max_bytes >> 20} MiB", "file_too_large", "file"
            )
        self._buffer += data
        if len(self._buffer) > _IN_MEMORY:
            await asyncio.to_thread(self._flush)

    async def read_from(self, file: IO[bytes]) -> None:
        """Add what is in ``file``."""
        while data := await asyncio.to_thread(file.read, _IN_MEMORY):
            await self.write(data)

    async def source(self) -> bytes | Path:
        """What was written: its bytes, or the file it is in."""
        if self._path is None:
            return bytes(self._buffer)
        await asyncio.to_thread(self._flush, True)
        return self._path

    def anonymous(self, sentence: str) -> str:
        """``sentence`` without the server's own path of the file."""
        return (
            sentence
            if self._path is None
            else sentence.replace(str(self._path), f"{self.size} bytes of audio")
        )

    def close(self) -> None:
        """Remove it; safe to call again, from any thread."""
        with self._lock:
            self._closed, self._buffer = True, bytearray()
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _flush(self, whole: bool = False) -> None:
        with self._lock:
            if self._closed:
                return
            if self._file is None:
                handle, name = tempfile.mkstemp(prefix="nim4asr-")
                self._path, self._file = Path(name), os.fdopen(handle, "wb")
            self._file.write(self._buffer)
            self._buffer = bytearray()
            if whole:
                self._file.close()


def recording_place(state: State, client: Client) -> Place:
    """A place for a recording, before anything of it is read. Raises ``ApiError`` if there is none."""
    state.access.admit(client)
    return state.admission.recording(client)


def wav_header(rate: int, floats: bool = False) -> bytes:
    """What makes a WAV file of bare samples that follow: mono, 16-bit or 32-bit floats, little-endian. Its
    lengths say that they are not known.
    """
    kind, size = (3, 4) if floats else (1, 2)
    unknown = 0xFFFFFFFF
    format = struct.pack("<HHIIHH", kind, 1, rate, rate * size, size, 8 * size)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", unknown, b"WAVE", b"fmt ", 16, format, b"data", unknown)


class Recognition:
    """A recording under way."""

    def __init__(self, state: State, client: Client, spool: Spool, future: "Future[Transcript]") -> None:
        self._state, self._client, self._spool, self._future = state, client, spool, future

    @classmethod
    async def begin(
        cls,
        state: State,
        place: Place,
        spool: Spool,
        options: RecordingOptions,
        on_segment: Callable[[Segment], None] | None = None,
        model: str | None = None,
    ) -> "Recognition":
        """Recognize what is in ``spool`` by ``model`` (default: the server's first); ``on_segment`` is called
        in another thread. From now on, ``place`` and ``spool`` are given back when nobody reads the recording
        any more.
        """
        lease: Lease | None = None

        def ended() -> None:
            place.release()
            spool.close()
            if lease is not None:
                lease.release()

        config = state.config
        limits = RecordingLimits(config.max_duration_s, config.max_silence_s)
        try:
            source = await spool.source()
            lease = await state.lease(model)
            future = lease.worker.transcribe(source, options, limits, on_segment, ended)
        except BaseException:
            ended()
            raise
        return cls(state, place.client, spool, future)

    async def transcript(self) -> Transcript:
        """The whole. If this is cancelled, the recording is given up within a block of sound.

        Raises ``InputError`` for what cannot be read or is beyond this server's limits.
        """
        try:
            transcript = await asyncio.wrap_future(self._future)
        except OverloadedError:
            raise
        except InputError as error:
            raise InputError(self._spool.anonymous(str(error))) from None
        # Each channel that was listened to for itself is work of its own.
        heard_s = transcript.duration * max(1, len({segment.channel for segment in transcript.segments}))
        self._state.metrics.audio_seconds.labels("recording", self._client.name).inc(heard_s)
        self._state.access.charge(self._client, heard_s)
        return replace(transcript, warnings=tuple(map(self._spool.anonymous, transcript.warnings)))

    def cancel(self) -> None:
        """Give it up."""
        self._future.cancel()
