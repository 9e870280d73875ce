"""A fault at every await of a session, in every protocol: whatever happens where, nothing is left of it, the
log has it, and the next client is served.

A session is run once to count the moments at which one of its tasks goes on after having waited for
something. Then it is run again for each of them, and there an exception is raised out of the ``await``, the
session is cancelled, or its client vanishes.
"""

import asyncio
import base64
import json
import struct
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from starlette.applications import Starlette

import nim4asr.serving
from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.runtime.network import Model
from nim4asr.serving import live, recordings
from nim4asr.serving.application import create_app
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.connections import GONE
from nim4asr.serving.lifecycle import Phase
from nim4asr.serving.recordings import wav_header
from nim4asr.serving.state import State
from nim4asr.serving.wyoming import _serve
from serving.conftest import PATIENCE_S, Log, wait_for
from serving.test_application import form

OURS = str(Path(nim4asr.serving.__file__).parent)
# What is heard live, and what in the whole.
SAID = ("what", "one")
# Half of a second, of which one word is left.
SAMPLES = read_audio(CLIP_FOLDER / "en-1.flac")[:12_800]
PCM = (SAMPLES * 32767).astype("<i2").tobytes()
# A recording, of which no more than a piece stays in memory.
RECORDING = wav_header(16_000) + PCM
PIECE = 10_000


class Fault(Exception):  # noqa: N818  (it is one)
    """What is injected."""


class Plan:
    """Counts the moments of a session, and acts at one of them, at the ``number``-th of those at ``site``:
    ``act`` returns what is raised there.
    """

    def __init__(self, site: str, number: int, act: Callable[[], BaseException | None]) -> None:
        self._at, self._number, self._act = site, number, act
        self.sites: list[str] = []
        self.active = True
        self.acted = False

    def reached(self, coroutine: Any) -> BaseException | None:
        """What is to be raised where ``coroutine`` is about to go on."""
        site = _site(coroutine)
        if site is None or not self.active:
            return None
        self.sites.append(site)
        if self.acted or site != self._at or self.sites.count(site) != self._number:
            return None
        self.acted = True
        return self._act()

    def factory(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        """A task whose moments are counted."""
        return asyncio.Task(Watched(coroutine, self), loop=loop, **options)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that asks its plan before it goes on after a wait."""

    def __init__(self, inner: Any, plan: Plan) -> None:
        self._inner, self._plan, self._waits = inner, plan, False

    def send(self, value: Any) -> Any:
        if self._waits and (fault := self._plan.reached(self._inner)) is not None:
            return self._inner.throw(fault)
        self._waits = True
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        raise NotImplementedError


def _site(coroutine: Any) -> str | None:
    """Where in this package ``coroutine`` waits, innermost; None if it is not in it."""
    found: FrameType | None = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None and frame.f_code.co_filename.startswith(OURS):
            found = frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    if found is None:
        return None
    return f"{Path(found.f_code.co_filename).stem}.{found.f_code.co_name}:{found.f_lineno}"


class Client:
    """Whoever has the session: sends ``messages``, reads until ``last`` is true of a row, and goes."""

    def __init__(self, messages: Sequence[Any], last: Callable[[Any], bool]) -> None:
        self._messages, self._last = list(messages), last
        self.rows: list[Any] = []
        self._over, self.gone = asyncio.Event(), asyncio.Event()

    def go(self) -> None:
        """Vanish, whatever is under way."""
        self._messages.clear()
        self._over.set()
        self.gone.set()

    async def next(self) -> Any:
        """The next message; None when there is nothing more to be had or said."""
        await asyncio.sleep(0)
        if not self._messages:
            await self._over.wait()
            return None
        message = self._messages.pop(0)
        if callable(message):
            message()
            return await self.next()
        return message

    async def take(self, row: Any) -> None:
        """A row has come; None: the connection is closed."""
        await asyncio.sleep(0)
        if self.gone.is_set():
            raise OSError("connection lost")
        self.rows.append(row)
        if row is None or self._last(row):
            self._over.set()


class Bench:
    """A server, and the ways to have a session with it."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self.state: State = app.state.nim4

    def close(self) -> None:
        """Have the server end what is open."""
        self.state.lifecycle.close()

    async def socket(self, client: Client, path: str, *subprotocols: str) -> None:
        """A WebSocket."""
        connected = False

        async def receive() -> dict[str, Any]:
            nonlocal connected
            if not connected:
                connected = True
                return {"type": "websocket.connect"}
            message = await client.next()
            if message is None:
                return {"type": "websocket.disconnect", "code": 1000}
            return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.close":
                await client.take(None)
            elif message["type"] == "websocket.send":
                await client.take(message.get("text") or message["bytes"])
            else:
                await asyncio.sleep(0)

        scope = {"type": "websocket", "path": path, "subprotocols": list(subprotocols), GONE: client.gone}
        scope |= {"headers": [], "query_string": b"", "client": ("127.0.0.1", 1), "root_path": ""}
        scope["extensions"] = {"websocket.http.response": {}}
        await self.app(scope, receive, send)

    async def post(self, client: Client, path: str, kind: str) -> None:
        """An upload in pieces, its answer as a row."""
        answer = bytearray()

        async def receive() -> dict[str, Any]:
            message = await client.next()
            if message is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": message, "more_body": bool(client._messages)}

        async def send(message: dict[str, Any]) -> None:
            answer.extend(message.get("body", b""))
            over = message["type"] == "http.response.body" and not message.get("more_body", False)
            await (client.take(answer.decode()) if over else asyncio.sleep(0))

        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "root_path": ""}
        scope |= {"headers": [(b"content-type", kind.encode())], "client": ("127.0.0.1", 1)}
        await self.app(scope, receive, send)

    async def wyoming(self, client: Client) -> None:
        """A TCP connection."""
        reader, writer = asyncio.StreamReader(), Writer(client)

        async def write() -> None:
            while (message := await client.next()) is not None:
                # In pieces, each of which is waited for.
                for start in range(0, len(message), 1 + len(message) // 3):
                    reader.feed_data(message[start : start + 1 + len(message) // 3])
                    for _ in range(4):
                        await asyncio.sleep(0)
                while reader._buffer and not client.gone.is_set():  # type: ignore[attr-defined]
                    await asyncio.sleep(0)
            reader.feed_eof()

        # The client's own: no fault is injected there.
        writing = asyncio.Task(write(), loop=asyncio.get_running_loop())
        try:
            await _serve(self.state, reader, writer)  # type: ignore[arg-type]
        finally:
            writing.cancel()
            await asyncio.wait([writing])


class Writer:
    """The writing end of a TCP connection."""

    def __init__(self, client: Client) -> None:
        self._client, self._data = client, b""
        self.transport = self

    def write(self, data: bytes) -> None:
        self._data += data

    async def drain(self) -> None:
        data, self._data = self._data, b""
        try:
            await self._client.take(data)
        except OSError:
            raise ConnectionResetError from None

    def close(self) -> None:
        self._client._over.set()

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._client._over.set()

    async def wait_closed(self) -> None:
        await asyncio.sleep(0)

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)


def append(pcm: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()})


def update(**transcription: Any) -> str:
    sound = {"format": {"type": "audio/pcm", "rate": 16_000}, "transcription": transcription}
    return json.dumps({"type": "session.update", "session": {"audio": {"input": sound}}})


def wyoming_row(kind: str, payload: bytes = b"") -> bytes:
    data = {"rate": 16_000, "width": 2, "channels": 1}
    own = json.dumps(data).encode()
    row = {"type": kind, "data_length": len(own), **({"payload_length": len(payload)} if payload else {})}
    return json.dumps(row).encode() + b"\n" + own + payload


def is_(kind: str) -> Callable[[Any], bool]:
    return lambda row: kind in (row if isinstance(row, str) else row.decode())


Session = tuple[Client, Callable[[], Coroutine[Any, Any, None]]]
HALF = 12_800
FLOATS = SAMPLES.astype("<f4").tobytes()
FUNASR = json.dumps({"mode": "2pass", "is_speaking": True, "wav_name": "a", "hotwords": "北京"})
OFFLINE = json.dumps({"mode": "offline", "is_speaking": True, "wav_format": "other"})
OVER = json.dumps({"is_speaking": False})
COMMIT = json.dumps({"type": "input_audio_buffer.commit"})


def realtime(bench: Bench) -> Session:
    rows = [update(keywords=["北京"]), append(PCM[:HALF]), update(keywords=[]), append(PCM[HALF:]), COMMIT]
    client = Client(rows, is_("completed"))
    return client, lambda: bench.socket(client, "/v1/realtime", "realtime")


def another_model(bench: Bench) -> Session:
    client = Client([update(model="other"), append(PCM), COMMIT], is_("completed"))
    return client, lambda: bench.socket(client, "/v1/realtime")


def realtime_until_closing(bench: Bench) -> Session:
    client = Client([update(), append(PCM), bench.close], lambda row: False)
    return client, lambda: bench.socket(client, "/v1/realtime")


def sherpa(bench: Bench) -> Session:
    client = Client([FLOATS[:HALF], FLOATS[HALF:], "Done"], is_("Done!"))
    return client, lambda: bench.socket(client, "/")


def sherpa_until_closing(bench: Bench) -> Session:
    client = Client([FLOATS, bench.close], lambda row: False)
    return client, lambda: bench.socket(client, "/")


def sherpa_recordings(bench: Bench) -> Session:
    data = struct.pack("<II", 16_000, len(FLOATS)) + FLOATS
    client = Client([data[:PIECE], data[PIECE:], "Done"], lambda row: False)
    return client, lambda: bench.socket(client, "/")


def funasr(bench: Bench) -> Session:
    client = Client([FUNASR, PCM[:HALF], PCM[HALF:], OVER], is_("is_end"))
    return client, lambda: bench.socket(client, "/", "binary")


def funasr_until_closing(bench: Bench) -> Session:
    client = Client([FUNASR, PCM, bench.close], lambda row: False)
    return client, lambda: bench.socket(client, "/", "binary")


def funasr_offline(bench: Bench) -> Session:
    client = Client([OFFLINE, RECORDING[:PIECE], RECORDING[PIECE:], OVER], is_("is_end"))
    return client, lambda: bench.socket(client, "/", "binary")


def funasr_offline_until_closing(bench: Bench) -> Session:
    client = Client([OFFLINE, RECORDING, bench.close], lambda row: False)
    return client, lambda: bench.socket(client, "/", "binary")


def wyoming(bench: Bench) -> Session:
    rows = [wyoming_row("describe"), wyoming_row("audio-start"), wyoming_row("audio-chunk", PCM)]
    client = Client([*rows, wyoming_row("audio-stop")], lambda row: b'{"text"' in row[-40:])
    return client, lambda: bench.wyoming(client)


def wyoming_until_closing(bench: Bench) -> Session:
    rows = [wyoming_row("audio-start"), wyoming_row("audio-chunk", PCM)]
    client = Client([*rows, bench.close], lambda row: False)
    return client, lambda: bench.wyoming(client)


def upload(bench: Bench, *fields: tuple[str, str]) -> Session:
    body, kind = form([("model", "nano"), ("keywords[]", "北京"), *fields], RECORDING)
    pieces = [body[i : i + PIECE] for i in range(0, len(body), PIECE)]
    client = Client(pieces, lambda row: True)
    return client, lambda: bench.post(client, "/v1/audio/transcriptions", kind)


def upload_events(bench: Bench) -> Session:
    return upload(bench, ("stream", "true"))


def upload_to_another_model(bench: Bench) -> Session:
    body, kind = form([("model", "other")], RECORDING)
    client = Client([body], lambda row: True)
    return client, lambda: bench.post(client, "/v1/audio/transcriptions", kind)


SESSIONS = (
    realtime, another_model, realtime_until_closing, sherpa, sherpa_until_closing, sherpa_recordings, funasr,
    funasr_until_closing, funasr_offline, funasr_offline_until_closing, wyoming, wyoming_until_closing,
    upload, upload_events, upload_to_another_model,
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    # Whoever sends half of a second at once has to wait.
    config = ServerConfig(unload_s=1e-9, max_backlog_s=0.3)
    app = create_app(model, config, others={"other": lambda: (model, None)})
    yield Bench(app)
    app.state.nim4.models.close()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, so that what is left of them is seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(recordings, "_IN_MEMORY", PIECE - 1)
    # And so has whoever has not read a row or two.
    monkeypatch.setattr(live, "_OUTBOX_BYTES", 100)
    return tmp_path


def run(
    bench: Bench, make: Callable[[Bench], Session], kind: str = "", site: str = "", number: int = 1
) -> tuple[list[str], list[Any], BaseException | None, BaseException | None]:
    """A session, with a fault of ``kind`` at one of its moments: the moments, its client's rows, what was
    injected, and what the application raised. Nothing of it is left in the loop.
    """
    fault: BaseException | None = Fault("injected") if kind == "error" else None

    async def main() -> tuple[Plan, list[Any], BaseException | None]:
        loop = asyncio.get_running_loop()
        client, session = make(bench)

        def act() -> BaseException | None:
            if kind == "gone":
                client.go()
            elif kind == "cancel":
                serving.cancel()
            return fault

        plan = Plan(site, number, act)
        loop.set_task_factory(plan.factory)
        serving = loop.create_task(session())
        done, _ = await asyncio.wait([serving], timeout=PATIENCE_S)
        assert done, f"the session hangs after {plan.sites[-5:]}: {client.rows}"
        # What is left may take a moment to see that it is over, and no more.
        plan.active = False
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, left = await asyncio.wait(others, timeout=PATIENCE_S)
            assert not left, left
        raised = None if serving.cancelled() else serving.exception()
        return plan, client.rows, raised

    plan, rows, raised = asyncio.run(main())
    return plan.sites, rows, fault if plan.acted else None, raised


def check_nothing_is_left(bench: Bench, scratch: Path, threads: set[threading.Thread]) -> None:
    state = bench.state
    for worker in state.models.workers:
        assert worker.wait_idle(PATIENCE_S), "a stream, a recording or a slot is left"
    wait_for(lambda: not state.admission.recordings)
    assert state.admission.sessions == 0
    wait_for(lambda: all(not loaded.leases for loaded in state.models._alive))
    assert list(scratch.iterdir()) == []

    def is_alone() -> bool:
        # The model that is not the first is loaded anew by the next session that asks for it; it may have
        # come only after the one that did had gone.
        state.models.unload_idle()
        others = {*threading.enumerate()} - threads
        # Those of the pool of readers stay.
        return len(state.models.workers) == 1 and all(map(_is_reader, others))

    wait_for(is_alone)
    state.lifecycle._phase = Phase.SERVING


def _is_reader(thread: threading.Thread) -> bool:
    return thread.name.startswith("reader_")


def is_logged(fault: BaseException, log: Log, raised: BaseException | None) -> bool:
    """Whether the log has it, or will have it from whoever runs the application."""
    errors = [raised, *(record.exc_info[1] for record in log.records if record.exc_info)]
    while errors:
        error = errors.pop()
        if error is fault:
            return True
        if error is not None:
            errors += [error.__cause__, error.__context__]
    return False


@pytest.mark.parametrize("make", SESSIONS, ids=lambda make: make.__name__)
def test_a_fault_at_every_await(
    bench: Bench, scratch: Path, log: Log, make: Callable[[Bench], Session]
) -> None:
    threads = {*threading.enumerate()}
    sites, rows, _, raised = run(bench, make)
    check_nothing_is_left(bench, scratch, threads)
    assert raised is None and is_served(rows), rows
    assert not log.faults
    wrong: list[str] = []
    for kind, site in product(("error", "cancel", "gone"), dict.fromkeys(sites)):
        # The first time there, and the last.
        for number in {1, sites.count(site)}:
            log.records.clear()
            _, _, fault, raised = run(bench, make, kind, site, number)
            try:
                check_nothing_is_left(bench, scratch, threads)
            except AssertionError as error:
                raise AssertionError(f"{kind} at {site}, time {number}") from error
            if fault is not None and not is_logged(fault, log, raised):
                wrong.append(f"{kind} at {site}, time {number}, is not logged")
    assert not wrong, "\n".join(wrong)
    # Whoever comes next is served.
    assert is_served(run(bench, make)[1])
    check_nothing_is_left(bench, scratch, threads)


def is_served(rows: Sequence[Any]) -> bool:
    return any(text in str(row) for row in rows for text in SAID)
