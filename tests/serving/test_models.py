"""Several models in one server: loaded when asked for, unloaded when idle, replaced while sessions go on."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from nim4asr.errors import InputError
from nim4asr.model.folder import ModelFolder
from nim4asr.runtime.network import Model
from nim4asr.serving.application import create_app, replace_model
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.models import Lease, Models
from nim4asr.serving.worker import EngineWorker
from serving.conftest import PATIENCE_S, Log, Running, running, wait_for
from serving.ending import Command
from serving.test_application import ask, form
from serving.test_realtime import CLIP, UPDATE, append, send, until
from serving.test_transcriptions import ROUTE


class Made:
    """Workers, as they are made; ``failing`` says what the next one fails by."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.workers: list[EngineWorker] = []
        self.failing: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> EngineWorker:
        assert self.go.wait(PATIENCE_S)
        if self.failing is not None:
            raise self.failing
        self.workers.append(EngineWorker(self._model))
        return self.workers[-1]


def leased(models: Models, name: str) -> Lease:
    while (lease := models.lease(name)) is None:
        models.load(name).result(PATIENCE_S)
    return lease


def is_closed(worker: EngineWorker) -> bool:
    return worker._closed and not worker._thread.is_alive()


@pytest.fixture
def made(model: Model) -> Made:
    return Made(model)


@pytest.fixture
def models(made: Made) -> Iterator[Models]:
    models = Models("first", made(), {"second": made, "third": made}, unload_s=100.0)
    yield models
    models.close()
    assert all(map(is_closed, made.workers))


def test_a_model_is_loaded_once_when_it_is_asked_for(models: Models, made: Made) -> None:
    assert models.names == ("first", "second", "third") and len(made.workers) == 1
    assert models.lease("second") is None
    made.go.clear()
    loading = [models.load("second") for _ in range(5)]
    # One that does not wait any longer takes it from nobody.
    assert not loading[0].cancel()
    # The first is there for everyone meanwhile.
    assert leased(models, "first").worker is made.workers[0]
    made.go.set()
    for one in loading:
        one.result(PATIENCE_S)
    leases = [leased(models, "second") for _ in range(2)]
    assert len(made.workers) == 2 and {lease.worker for lease in leases} == {made.workers[1]}
    assert set(models.workers) == set(made.workers) and models.late_s == 0.0
    models.load("second").result(PATIENCE_S)
    assert len(made.workers) == 2


def test_a_model_is_unloaded_when_nobody_has_used_it_for_a_while(
    models: Models, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("nim4asr.serving.models.time.monotonic", lambda: now[0])
    lease = leased(models, "second")
    now[0] += 1000
    assert models.unload_idle() == []
    lease.release()
    lease.release()
    now[0] += 99
    assert models.unload_idle() == []
    now[0] += 2
    assert models.unload_idle() == ["second"] and models.lease("second") is None
    monkeypatch.undo()
    wait_for(lambda: is_closed(made.workers[1]))
    again = leased(models, "second")
    assert again.worker is made.workers[2] and not is_closed(again.worker)


def test_a_model_that_is_replaced_ends_with_its_last_lease(models: Models, made: Made) -> None:
    old, other = leased(models, "first"), leased(models, "first")
    models.replace("first", made)
    assert models.worker is made.workers[1] and leased(models, "first").worker is made.workers[1]
    # It is counted for as long as it is used.
    assert set(models.workers) == set(made.workers)
    old.release()
    assert not is_closed(made.workers[0])
    assert other.worker.submit(lambda: 1).result(PATIENCE_S) == 1
    other.release()
    wait_for(lambda: is_closed(made.workers[0]) and models.workers == [made.workers[1]])
    # One that is not loaded is not loaded for that.
    models.replace("third", made)
    assert len(made.workers) == 2


def test_a_model_that_is_replaced_while_it_is_loaded(models: Models, made: Made, model: Model) -> None:
    """Whoever waits gets the new one, and nothing is left of the old one."""
    made.go.clear()
    waiting = models.load("second")
    new = Made(model)
    models.replace("second", new)
    made.go.set()
    waiting.result(PATIENCE_S)
    assert leased(models, "second").worker is new.workers[0]
    wait_for(lambda: all(map(is_closed, made.workers[1:])))


def test_a_model_that_cannot_be_loaded(
    models: Models, made: Made, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("nim4asr.serving.models.time.monotonic", lambda: now[0])
    for failing in (InputError("/srv/models/second: there is no such folder"), MemoryError("/srv: no room")):
        made.failing = failing
        for _ in range(3):
            with pytest.raises(ApiError) as raised:
                leased(models, "second")
            assert raised.value.status == 503 and "/srv" not in raised.value.message
        # It is tried, and told of, once in a while.
        (told,) = (record for record in log.records if str(failing) in record.getMessage())
        assert bool(told.exc_info) == isinstance(failing, MemoryError)
        now[0] += 60
    made.failing = InputError("no")
    with pytest.raises(InputError):
        models.replace("first", made)
    made.failing = None
    assert leased(models, "second").worker and leased(models, "first").worker is made.workers[0]


def test_a_model_that_comes_when_the_server_has_ended(model: Model) -> None:
    made = Made(model)
    models = Models("first", made(), {"second": made})
    made.go.clear()
    waiting = models.load("second")
    models.close()
    made.go.set()
    with pytest.raises(ApiError, match="about to stop"):
        waiting.result(PATIENCE_S)
    wait_for(lambda: all(map(is_closed, made.workers)))


def transcribe_by(server: Running, name: str) -> tuple[int, Any, Any]:
    body, kind = form([("model", name)])
    return ask(server, "POST", ROUTE, body, content_type=kind)


@pytest.fixture
def several(model: Model) -> Iterator[tuple[Running, list[str]]]:
    """A server with two models, and the names of those that were loaded."""
    loaded: list[str] = []

    def load() -> Any:
        loaded.append("large")
        return model, None

    config = ServerConfig(aliases=("whisper-1",))
    with running(model, config, others={"large": load, "nano": load}) as server:
        yield server, loaded


def test_a_server_of_several_models(several: tuple[Running, list[str]]) -> None:
    server, loaded = several
    rows = ask(server, "GET", "/v1/models")[1]["data"]
    assert [row["id"] for row in rows] == ["nano", "large", "whisper-1"] and loaded == []
    assert ask(server, "GET", "/v1/models/large")[0] == 200
    assert transcribe_by(server, "whisper-1")[0] == 200 and loaded == []
    assert transcribe_by(server, "large")[1]["text"] == "他是中国人" and loaded == ["large"]
    assert transcribe_by(server, "small")[0] == 404
    assert "nim4_models 2.0" in ask(server, "GET", "/metrics")[1]
    with connect(f"{server.ws_url}/v1/realtime") as socket:
        assert (
            until(socket, "session.created")["session"]["audio"]["input"]["transcription"]["model"] == "nano"
        )
        socket.send(json.dumps(UPDATE))
        send(socket, "session.update", session={"audio": {"input": {"transcription": {"model": "large"}}}})
        append(socket, CLIP)
        send(socket, "input_audio_buffer.commit")
        assert until(socket, ".completed")["transcript"] == "what do you want"
        send(socket, "session.update", session={"audio": {"input": {"transcription": {"model": "nano"}}}})
        assert "once sound has come" in until(socket, "error")["error"]["message"]
    assert loaded == ["large"]


def test_a_model_is_replaced_while_a_session_goes_on(model: Model, log: Log) -> None:
    app = create_app(model, ServerConfig())
    with running(model, app=app) as server:
        old = server.state.worker
        with connect(f"{server.ws_url}/v1/realtime") as socket:
            socket.send(json.dumps(UPDATE))
            append(socket, CLIP[: len(CLIP) // 4 * 2])
            send(socket, "nothing")
            until(socket, "error")
            replace_model(app, "nano", lambda: (model, None))
            assert server.state.worker is not old
            append(socket, CLIP[len(CLIP) // 4 * 2 :])
            send(socket, "input_audio_buffer.commit")
            assert until(socket, ".completed")["transcript"] == "what do you want"
            assert not is_closed(old)
        wait_for(lambda: is_closed(old))
        assert transcribe_by(server, "nano")[0] == 200
        server.settle()
    assert not log.faults


def test_a_client_that_goes_while_its_model_is_loaded(model: Model, log: Log) -> None:
    go, asked = threading.Event(), threading.Event()

    def load() -> Any:
        asked.set()
        assert go.wait(PATIENCE_S)
        return model, None

    with running(model, others={"large": load}) as server:
        with connect(f"{server.ws_url}/v1/realtime") as socket:
            send(
                socket, "session.update", session={"audio": {"input": {"transcription": {"model": "large"}}}}
            )
            append(socket, CLIP)
            assert asked.wait(PATIENCE_S)
            socket.socket.close()
            wait_for(lambda: server.state.admission.sessions == 0)
        # The server goes on meanwhile, and has the model afterwards.
        assert transcribe_by(server, "nano")[0] == 200
        go.set()
        assert transcribe_by(server, "large")[0] == 200
        wait_for(lambda: server.state.models._slots["large"].loaded.leases == 0)  # type: ignore[union-attr]
    assert not log.faults


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"": None}),
        (["folder"], {"": "folder"}),
        (["org/name"], {"": "org/name"}),
        (["a=one", "b=org/two"], {"a": "one", "b": "org/two"}),
        (["a=one=two"], {"a": "one=two"}),
        (["one", "b=two"], None),
        (["a=one", "a=two"], None),
        (["a=", "b=two"], None),
    ],
)
def test_names_on_the_command_line(given: Any, expected: Any) -> None:
    import argparse

    from nim4asr.cli.serve import _named_models

    named: Callable[[], Any] = lambda: _named_models(argparse.Namespace(model=given))  # noqa: E731
    if expected is None:
        with pytest.raises(InputError, match="NAME=DIR"):
            named()
    else:
        assert named() == expected


def test_files_that_could_not_be_loaded_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    file = tmp_path / "b" / "weights"
    file.write_text("x")
    from nim4asr.cli.serve import _Changed

    changed = _Changed({"a": str(tmp_path / "a"), "b": str(tmp_path / "b")})
    assert changed() == []
    file.write_text("xy")
    # Whoever asks says what came of it; until then it is not loaded.
    assert changed() == changed() == ["b"]
    changed.loaded("b")
    assert changed() == []


@pytest.mark.slow
def test_files_that_have_changed_are_loaded_at_sighup(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ModelFolder.open("nano").path, folder)
    with Command("--model", f"own={folder}") as command:
        server: Any = command

        def after(sentence: str) -> None:
            said = len(command.lines)
            command.process.send_signal(signal.SIGHUP)
            wait_for(lambda: any(sentence in line for line in command.lines[said:]))
            assert transcribe_by(server, "own")[1]["text"] == "他是中国人"

        config = folder / "config.json"
        os.utime(config, (1, 1))
        after("the model own was replaced")
        config.write_text("{")
        after("the model own stays as it was")
