"""What every live session has from ``LiveConnection``: order, bounds, ends, errors, in any protocol."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.errors import InputError
from nim4asr.recognition.events import Event, Failed, Final, Partial
from nim4asr.runtime.network import Model
from nim4asr.serving.access import Client
from nim4asr.serving.application import create_app
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.live import ClientGone, LiveConnection, LiveProtocol, Wire, _drop_opened
from nim4asr.serving.state import State
from serving.conftest import PATIENCE_S, Log

CLIP = read_audio(CLIP_FOLDER / "en-1.flac")
PAUSE = np.zeros(SAMPLE_RATE, np.float32)
GONE, DONE = object(), object()


class FakeWire(Wire[Any]):
    """A client: ``put`` what it sends, and it reads while ``reading`` is set."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._received: list[Any] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.sent: list[str | bytes] = []
        self.closed: list[ApiError | None] = []
        self.waiting = False

    def put(self, *messages: Any) -> None:
        for message in messages:
            self._messages.put_nowait(message)

    @property
    def received(self) -> int:
        return len(self._received)

    async def receive(self) -> Any:
        self.waiting = self._messages.empty()
        message = await self._messages.get()
        self.waiting = False
        self._received.append(message)
        if message is GONE:
            raise ClientGone
        return message

    async def send(self, row: str | bytes) -> None:
        await self.reading.wait()
        self.sent.append(row)

    async def close(self, error: ApiError | None) -> None:
        self.closed.append(error)


class Plain(LiveProtocol):
    """Samples in; texts of finals, and ``end``, out. A string that comes is answered by itself; an exception
    is raised.
    """

    name = "plain"

    def __init__(self, connection: LiveConnection[Any]) -> None:
        self.connection = connection
        self.dropped = 0

    async def converse(self) -> None:
        await self.connection.open(1)
        while (message := await self.connection.receive()) is not DONE:
            if isinstance(message, Exception):
                raise message
            if isinstance(message, str):
                self.connection.post(message)
            else:
                await self.connection.feed(message)
        await self.conclude()

    async def conclude(self) -> None:
        await self.connection.finish()
        self.connection.post("end")

    def rows(self, generation: int, events: Sequence[Event]) -> Iterator[str]:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Final):
                yield event.segment.text
            if isinstance(event, Partial):
                yield f"({event.stable})"

    def error(self, error: ApiError) -> str:
        return json.dumps([error.status, error.code, error.message])

    def drop(self) -> None:
        self.dropped += 1


@pytest.fixture
def states(model: Model) -> Iterator[Callable[..., State]]:
    """Servers without a network, by their settings."""
    made: list[State] = []

    def make(**settings: Any) -> State:
        made.append(create_app(model, ServerConfig(**settings)).state.nim4)
        return made[-1]

    yield make
    for state in made:
        state.worker.close()


def session(state: State, use: Callable[[FakeWire, LiveConnection[Any]], Any]) -> FakeWire:
    """Run a session beside ``use``, to its end; nothing is left of it."""
    wires: list[FakeWire] = []

    async def run() -> None:
        wire = FakeWire()
        wires.append(wire)
        connection = LiveConnection(state, state.admission.session(Client("test", "alice")), wire)
        protocol = Plain(connection)
        serving = asyncio.create_task(connection.run(protocol))
        async with asyncio.timeout(PATIENCE_S):
            await use(wire, connection)
            await serving
        assert protocol.dropped == 1
        # None of its tasks goes on.
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert state.admission.sessions == 0 and state.worker.wait_idle(PATIENCE_S)
    return wires[0]


def outcome(log: Log) -> dict[str, Any]:
    record = log.wait(lambda record: record.name == "nim4asr.serving.sessions")
    row: dict[str, Any] = record.row  # type: ignore[attr-defined]
    return row


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds and what was under way in this loop has run."""
    while not condition():
        await asyncio.sleep(0.01)


def sound(*clips: Floats) -> list[Floats]:
    """In blocks of 100 ms."""
    samples = np.concatenate(clips)
    return [samples[i : i + 1600] for i in range(0, len(samples), 1600)]


def test_a_session_from_its_beginning_to_its_end(states: Callable[..., State], log: Log) -> None:
    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP, PAUSE, CLIP), DONE)

    wire = session(states(), use)
    texts = [row for row in wire.sent if str(row)[0] != "("]
    assert texts == ["what do you want", "what do you want", "end"] and wire.closed == [None]
    row = outcome(log)
    assert (row["protocol"], row["client"], row["outcome"]) == ("plain", "alice", "done")
    assert row["audio_seconds"] == pytest.approx(
        len(np.concatenate([CLIP, PAUSE, CLIP])) / SAMPLE_RATE, abs=0.01
    )
    assert not log.faults


def test_rows_of_a_slow_reader_come_in_order_and_none_after_the_end(states: Callable[..., State]) -> None:
    """All has been said and recognized before the first row is taken."""
    state = states()

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.reading.clear()
        wire.put(*sound(CLIP, PAUSE, CLIP), DONE)
        await settled(lambda: wire.received > 30 and state.worker.wait_idle(0))
        wire.reading.set()

    wire = session(state, use)
    assert [row for row in wire.sent if str(row)[0] != "("] == ["what do you want", "what do you want", "end"]
    first = wire.sent.index("what do you want")
    assert wire.sent.index("what do you want", first + 1) > first + 1, "no partial of the second between them"


def test_who_does_not_read_is_not_read_from(states: Callable[..., State]) -> None:
    """Twenty thousand messages, each answered by a kilobyte: a few are answered, the others are not read."""
    state = states(max_stall_s=PATIENCE_S)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.reading.clear()
        wire.put(*["x" * 1000] * 20_000, DONE)
        await settled(lambda: wire.received > 250)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert wire.received < 300
        wire.reading.set()

    assert len(session(state, use).sent) == 20_001


def test_who_does_not_read_is_not_listened_to(states: Callable[..., State]) -> None:
    """No more sound is fed than until the outbox is full, and no event is kept beyond that."""
    state = states(max_stall_s=PATIENCE_S)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.reading.clear()
        wire.put("x" * (1 << 20), *sound(CLIP, PAUSE) * 2, DONE)
        await settled(lambda: wire.received == 1)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert wire.received == 1 and state.worker.backlog_s == 0.0
        wire.reading.set()

    assert session(state, use).sent[-1] == "end"


def test_who_does_not_read_for_too_long_is_let_go(states: Callable[..., State], log: Log) -> None:
    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.reading.clear()
        wire.put(*sound(CLIP, PAUSE))

    wire = session(states(max_stall_s=0.2), use)
    assert outcome(log)["outcome"] == "too_far_behind" and wire.closed


def test_sound_is_fed_in_small_pieces_and_only_as_much_as_is_heard(
    states: Callable[..., State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour in one message: the engine's thread never has more than a slice at once, and three seconds
    wait.
    """
    state, pieces, waiting = states(max_backlog_s=3.0), list[float](), list[float]()
    from nim4asr.serving.listening import LiveStream

    genuine = LiveStream.feed

    def feed(stream: LiveStream, samples: Any, seconds: float) -> None:
        pieces.append(seconds)
        genuine(stream, samples, seconds)
        waiting.append(stream.waiting_s)

    monkeypatch.setattr(LiveStream, "feed", feed)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(np.concatenate([CLIP, PAUSE] * 1200))
        await settled(lambda: len(pieces) > 40)
        wire.put(GONE)
        # It is gone while it is being fed, and notices at its next message; others notice at once.
        connection.drop()

    session(state, use)
    assert max(pieces) <= 0.5 and max(waiting) <= 3.5
    assert len(pieces) < 1000


@pytest.mark.parametrize("rate", [0, -1, 1000, 3999, 192_001, 10**400, 16_000.0, True, "16000", None])
def test_rates_that_no_speech_has(states: Callable[..., State], rate: Any) -> None:
    async def run() -> None:
        state = states()
        connection = LiveConnection(state, state.admission.session(Client("x")), FakeWire())
        with pytest.raises(ApiError, match="4000 to 192000"):
            await connection.open(1, sample_rate=rate)

    asyncio.run(run())


class Timeouts:
    """``asyncio.timeout``, whose times come when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._genuine, self._open = asyncio.timeout, dict[float | None, asyncio.Timeout]()
        monkeypatch.setattr("nim4asr.serving.live.asyncio.timeout", self)

    def __call__(self, delay: float | None) -> asyncio.Timeout:
        timeout = self._open[delay] = self._genuine(None)
        return timeout

    def pass_by(self, delay: float) -> None:
        self._open[delay].reschedule(asyncio.get_running_loop().time())


@pytest.mark.parametrize(
    ("limit", "code"), [("max_session_s", "session_expired"), ("max_idle_s", "session_idle")]
)
def test_a_session_that_has_had_its_time_gets_its_last_text(
    states: Callable[..., State], log: Log, monkeypatch: pytest.MonkeyPatch, limit: str, code: str
) -> None:
    state = states(**{limit: 1234.5})
    timeouts = Timeouts(monkeypatch)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP))
        await settled(lambda: wire.waiting and wire.received == len(sound(CLIP)))
        timeouts.pass_by(1234.5)

    wire = session(state, use)
    assert list(wire.sent[-3:-1]) == ["what do you want", "end"]
    assert json.loads(wire.sent[-1])[1] == outcome(log)["outcome"] == code


def test_a_server_that_closes_tells_what_was_said(states: Callable[..., State], log: Log) -> None:
    state = states()

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP))
        await settled(lambda: wire.received == len(sound(CLIP)))
        threading.Thread(target=state.lifecycle.close).start()

    wire = session(state, use)
    assert list(wire.sent[-3:-1]) == ["what do you want", "end"]
    assert json.loads(wire.sent[-1])[:2] == [503, "server_stopping"]
    assert outcome(log)["outcome"] == "server_stopping"


def test_what_cannot_be_finished_in_time_is_given_up(
    states: Callable[..., State], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, go = states(finish_s=0.2), threading.Event()
    genuine = state.worker.engine.step
    monkeypatch.setattr(state.worker.engine, "step", lambda: (go.wait(PATIENCE_S), genuine())[1])

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        await settled(lambda: connection._stream is not None)
        wire.put(*sound(CLIP))
        await settled(lambda: wire.received == len(sound(CLIP)))
        state.lifecycle.close()
        await settled(lambda: bool(wire.closed))
        go.set()

    # Opening a stream is a matter of the engine's thread.
    go.set()

    async def stuck(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        await settled(lambda: connection._stream is not None)
        go.clear()
        await use(wire, connection)

    assert json.loads(session(state, stuck).sent[-1])[1] == "server_stopping"


def test_a_client_that_goes_leaves_nothing(states: Callable[..., State], log: Log) -> None:
    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP), GONE)

    assert "end" not in session(states(), use).sent
    assert outcome(log)["outcome"] == "gone" and not log.faults


@pytest.mark.parametrize("when", ["open", "chosen", "feed", "finish"])
def test_a_client_that_goes_while_its_session_waits(
    states: Callable[..., State], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Wherever the conversation is, it ends, and with it whatever it waits for."""
    state = states(max_backlog_s=0.1)
    gone, reached = asyncio.Event(), asyncio.Event()

    class Vanishing(FakeWire):
        async def gone(self) -> None:
            await gone.wait()

    async def never(*args: Any, **options: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    async def run() -> None:
        wire = Vanishing()
        connection = LiveConnection(state, state.admission.session(Client("test")), wire)
        if when == "chosen":
            monkeypatch.setattr(State, "chosen", never)
        elif when == "open":
            state.worker.submit(lambda: release.wait(PATIENCE_S))
            reached.set()
        else:
            name = {"feed": "_wait_for_room", "finish": "finish"}[when]
            monkeypatch.setattr(connection, name, never)
        serving = asyncio.create_task(connection.run(Plain(connection)))
        wire.put(*sound(CLIP), DONE)
        async with asyncio.timeout(PATIENCE_S):
            await reached.wait()
            await asyncio.sleep(0)
            gone.set()
            await serving
        release.set()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    release = threading.Event()
    asyncio.run(run())
    assert state.admission.sessions == 0 and state.worker.wait_idle(PATIENCE_S)


@pytest.mark.parametrize(
    ("error", "status", "code", "logged"),
    [
        (InputError("no sound"), 400, None, False),
        (ApiError(429, "too much", "rate_limit_exceeded"), 429, "rate_limit_exceeded", False),
        (ValueError("shapes (3,) and (4,) not aligned"), 500, "server_error", True),
        (RuntimeError("CUDA out of memory"), 500, "server_error", True),
        (TimeoutError("of something else"), 500, "server_error", True),
        (MemoryError(), 500, "server_error", True),
        (OSError(28, "No space left on device"), 507, "server_error", True),
    ],
)
def test_errors_are_told_and_those_of_the_server_are_logged(
    states: Callable[..., State], log: Log, error: Exception, status: int, code: str | None, logged: bool
) -> None:
    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(error)

    wire = session(states(), use)
    told = json.loads(wire.sent[-1])
    assert told[:2] == [status, code] and wire.closed[0] is not None and wire.closed[0].status == status
    assert logged == (str(error) not in told[2] or not str(error))
    faults = [record for record in log.records if record.exc_info]
    assert len(faults) == logged and all(record.exc_info[1] is error for record in faults)  # type: ignore[index]


@pytest.mark.parametrize("where", ["rows", "send", "open", "chosen"])
def test_faults_injected_where_a_session_waits(
    states: Callable[..., State], log: Log, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    state = states()
    fault = RuntimeError("injected")

    def broken(*args: Any, **options: Any) -> Any:
        raise fault

    async def broken_too(*args: Any, **options: Any) -> Any:
        raise fault

    if where == "rows":
        monkeypatch.setattr(Plain, "rows", broken)
    elif where == "send":
        monkeypatch.setattr(FakeWire, "send", broken_too)
    elif where == "open":
        monkeypatch.setattr(state.worker.engine, "open", broken)
    else:
        monkeypatch.setattr(State, "chosen", broken_too)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP), DONE)

    wire = session(state, use)
    assert wire.closed[0] is not None and wire.closed[0].status == 500
    assert [record.exc_info[1] for record in log.records if record.exc_info] == [fault]
    assert outcome(log)["outcome"] == "server_error"


def test_a_failure_in_the_engine_ends_the_session_with_its_error(
    states: Callable[..., State], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = states()

    def broken(*args: Any) -> Any:
        raise ValueError("could not broadcast")

    monkeypatch.setattr(state.worker.model.network, "encode_chunks", broken)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP), DONE)

    wire = session(state, use)
    assert json.loads(wire.sent[-1])[:2] == [500, "server_error"]
    record = log.wait(lambda record: record.exc_info is not None)
    assert "could not broadcast" in str(record.exc_info[1])  # type: ignore[index]


def test_a_stream_that_opens_when_nobody_waits_for_it_is_dropped() -> None:
    class Stream:
        dropped = False

        def drop(self) -> None:
            self.dropped = True

    opened: Future[Any] = Future()
    opened.add_done_callback(_drop_opened)
    stream = Stream()
    opened.set_result(stream)
    assert stream.dropped
    # What has failed or was canceled has nothing to drop, and nothing to say.
    failed: Future[Any] = Future()
    failed.set_exception(ValueError("no"))
    canceled: Future[Any] = Future()
    canceled.cancel()
    for opening in (failed, canceled):
        _drop_opened(opening)


def test_who_has_used_up_its_allowance_gets_the_text_of_what_it_said(
    states: Callable[..., State], log: Log
) -> None:
    state = states(audio_s_per_minute=len(CLIP) / SAMPLE_RATE - 0.05)

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        wire.put(*sound(CLIP, PAUSE, PAUSE))

    wire = session(state, use)
    assert list(wire.sent[-3:-1]) == ["what do you want", "end"]
    assert json.loads(wire.sent[-1])[:2] == [429, "rate_limit_exceeded"]
    assert outcome(log)["outcome"] == "rate_limit_exceeded" and not log.faults


def test_what_fails_while_a_session_is_closed_is_logged(states: Callable[..., State], log: Log) -> None:
    fault = RuntimeError("injected")

    class Failing(FakeWire):
        async def send(self, row: str | bytes) -> None:
            # The conversation ends meanwhile.
            for _ in range(100):
                await asyncio.sleep(0)
            raise fault

    async def run() -> None:
        state = states()
        wire = Failing()
        wire.put(InputError("the end"))
        connection = LiveConnection(state, state.admission.session(Client("test")), wire)
        await connection.run(Plain(connection))

    asyncio.run(run())
    assert [record.exc_info[1] for record in log.records if record.exc_info] == [fault]


@pytest.mark.parametrize("manual", [False, True])
def test_what_waits_for_room_when_the_server_closes_was_said(
    states: Callable[..., State], monkeypatch: pytest.MonkeyPatch, manual: bool
) -> None:
    """A message that came whole is told whole, before what a conclusion commits."""
    state, go = states(max_backlog_s=0.3), threading.Event()
    genuine = state.worker.engine.step
    monkeypatch.setattr(state.worker.engine, "step", lambda: (go.wait(PATIENCE_S), genuine())[1])
    if manual:

        async def conclude(plain: Plain) -> None:
            plain.connection.commit()
            await plain.connection.finish()
            plain.connection.post("end")

        monkeypatch.setattr(Plain, "conclude", conclude)
    # To open a stream is a matter of the engine's thread.
    go.set()

    async def use(wire: FakeWire, connection: LiveConnection[Any]) -> None:
        await settled(lambda: connection._stream is not None)
        go.clear()
        wire.put(CLIP)
        await settled(lambda: wire.received == 1 and state.worker.backlog_s >= 0.3)
        state.lifecycle.close()
        for _ in range(100):
            await asyncio.sleep(0)
        go.set()

    assert "what do you want" in session(state, use).sent
