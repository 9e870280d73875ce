"""Uploads: let in before they are read, spooled, given up with their client; errors, and faults of the
server.
"""

import errno
import http.client
import io
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import CLIP_FOLDER
from nim4asr.audio.reading import read_audio
from nim4asr.serving.access import Client
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.errors import ApiError
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.recordings import Spool
from serving.conftest import PATIENCE_S, Log, Running, answer_of, wait_for
from serving.test_application import CLIP, ask, form, transcribe

ROUTE = "/v1/audio/transcriptions"


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, so that what is left of them is seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def large() -> bytes:
    """A recording of 4 MiB."""
    clip = read_audio(CLIP_FOLDER / "zh-1.flac")
    buffer = io.BytesIO()
    sound = np.concatenate([clip, np.zeros(2 * 2**20 - len(clip), np.float32)])
    soundfile.write(buffer, sound, 16_000, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def post(server: Running, body: bytes, kind: str, **headers: str) -> tuple[int, Any, Any]:
    return ask(server, "POST", ROUTE, body, content_type=kind, **headers)


def test_what_is_large_is_read_from_the_disk_and_then_gone(nano: Running, scratch: Path) -> None:
    data = large()
    assert post(nano, *form([("model", "nano")], data))[1]["text"] == "他是中国人"
    damaged = b"RIFF" + data[8:]
    status, row, _ = post(nano, *form([("model", "nano")], damaged))
    assert status == 400 and str(scratch) not in row["error"]["message"]
    assert re.search(r"^\d+ bytes of audio: ", row["error"]["message"])
    nano.settle()
    assert list(scratch.iterdir()) == [] and nano.state.admission.recordings == 0


def test_who_has_no_place_is_refused_before_the_body_is_read(
    serve: Callable[..., Any], scratch: Path
) -> None:
    """Sixty uploads of 24 MiB: those for which there is no place send nothing but their heads."""
    with serve(ServerConfig(max_recordings=1, max_waiting=1)) as server:
        places = [server.state.admission.recording(Client("x", local=True)) for _ in range(2)]
        sockets = []
        for _ in range(60):
            connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
            connection.sendall(
                f"POST {ROUTE} HTTP/1.1\r\nhost: localhost\r\n"
                "content-type: multipart/form-data; boundary=x\r\n"
                f"content-length: {24 << 20}\r\n\r\n".encode()
            )
            sockets.append(connection)
        for connection in sockets:
            assert answer_of(connection)[0] == 429
            connection.close()
        assert list(scratch.iterdir()) == []
        for place in places:
            place.release()
        assert transcribe(server)[0] == 200


@pytest.mark.parametrize("stream", ["false", "true"])
@pytest.mark.parametrize("reading", [False, True])
def test_a_client_that_goes_is_not_worked_for(
    serve: Callable[..., Any],
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    stream: str,
    reading: bool,
    log: Log,
) -> None:
    """While its recording waits for a reader, and while it is read: both are given back within a block."""
    some, given = threading.Event(), [0]

    def endless(source: Any, warn: Any, channel: int | None) -> Iterator[Any]:
        while True:
            given[0] += 1
            some.set()
            yield np.zeros(16_000, np.float32)

    monkeypatch.setattr("nim4asr.serving.reading.stream_audio", endless)
    with serve(ServerConfig(max_recordings=1, max_duration_s=1e9, max_silence_s=1e9)) as server:
        go = threading.Event()
        if not reading:
            server.state.worker._readers.submit(go.wait, PATIENCE_S)
        body, kind = form([("model", "nano"), ("stream", stream)], bytes(3 << 20))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        connection.request("POST", ROUTE, body, {"content-type": kind})
        if reading:
            assert some.wait(PATIENCE_S)
        wait_for(lambda: server.state.worker.under_way == 1)
        connection.close()
        if not reading:
            time.sleep(0.05)
            go.set()
        server.settle()
        wait_for(lambda: server.state.admission.recordings == 0)
        after = given[0]
        assert list(scratch.iterdir()) == []
        # Nobody decodes on.
        monkeypatch.undo()
        assert transcribe(server)[0] == 200 and given[0] == after
    assert not log.faults


def test_a_client_that_goes_while_it_sends(nano: Running, scratch: Path, log: Log) -> None:
    body, kind = form([("model", "nano")], bytes(6 << 20))
    for sent in (0, 50, 200, 3 << 20):
        with socket.create_connection(("127.0.0.1", nano.port), PATIENCE_S) as connection:
            head = f"POST {ROUTE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n"
            connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:sent])
            wait_for(lambda: nano.state.admission.recordings == 1)
        wait_for(lambda: nano.state.admission.recordings == 0)
    wait_for(lambda: len(log.records) == 4)
    assert [record.row["status"] for record in log.records] == [499] * 4  # type: ignore[attr-defined]
    assert list(scratch.iterdir()) == [] and not log.faults


def test_a_body_that_does_not_come(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nim4asr.serving.middleware._BODY_START_S", 0.3)
    with serve() as server:
        for sent in (b"", b"--x\r\nContent-Disposition: form-data; name="):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
                head = f"POST {ROUTE} HTTP/1.1\r\nhost: localhost\r\n"
                head += "content-type: multipart/form-data; boundary=x\r\ncontent-length: 1000\r\n\r\n"
                connection.sendall(head.encode() + sent)
                status, body = answer_of(connection)
            assert status == 408 and json.loads(body)["error"]["code"] == "request_timeout"
        assert server.state.admission.recordings == 0


def test_limits_of_recordings(serve: Callable[..., Any]) -> None:
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(8000 * 3600 * 4, np.int16), 8000, format="FLAC")
    with serve(ServerConfig(max_silence_s=30.0)) as server:
        began = server.state.worker.engine.stats.encoder_calls
        status, row, _ = post(server, *form([("model", "nano")], silence.getvalue()))
        assert status == 400 and "are no speech" in row["error"]["message"]
        status, row, _ = post(server, *form([("model", "nano")], large()))
        assert status == 400 and "nobody speaks" in row["error"]["message"]
        assert server.state.worker.engine.stats.encoder_calls - began <= 1


DISPOSITION = 'Content-Disposition: form-data; name="{}"'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + CLIP + b"\r\n"
MODEL = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nnano\r\n'


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("名字", "%E5%90%8D%E5%AD%97"),
        ("a\x7f", "a%7F"),
        ("a\x01b", "a%01b"),
        ("a,b", "a%2Cb"),
        ("x" * 500, "x" * 80),
        ("é", "%C3%A9"),
    ],
)
def test_names_that_no_header_can_hold(nano: Running, name: str, shown: str) -> None:
    body = MODEL + b"--x\r\n" + DISPOSITION.format(name).encode() + b"\r\n\r\n1\r\n" + FILE + b"--x--\r\n"
    status, _, headers = post(nano, body, "multipart/form-data; boundary=x")
    assert status == 200 and headers["nim4-ignored"] == shown


@pytest.mark.parametrize(
    "charset",
    [
        "punycode",
        "idna",
        "hex",
        "zlib",
        "utf-7",
        "utf-16",
        "cp037",
        "rot13",
        "undefined",
        "no-such",
        "\xff",
        "",
    ],
)
def test_charsets(nano: Running, log: Log, charset: str) -> None:
    body = (
        b"--x\r\n"
        + DISPOSITION.format("prompt").encode()
        + b"\r\n\r\n\xe5\x90\x8d--\xff\r\n"
        + MODEL
        + FILE
        + b"--x--\r\n"
    )
    status, row, _ = post(nano, body, f"multipart/form-data; boundary=x; charset={charset}")
    assert status in (200, 400, 404) and (status == 200 or row["error"]["message"])
    assert not log.faults


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", ""),
        (b"x", "application/json"),
        (b"model=nano&file=x", "application/x-www-form-urlencoded"),
        (b"", "multipart/form-data"),
        (b"junk", "multipart/form-data; boundary=x"),
        (MODEL + FILE, "multipart/form-data; boundary=y"),
        (MODEL + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (FILE + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (MODEL + FILE + FILE + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (MODEL + MODEL + FILE + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (MODEL.replace(b"nano", b"na\0no") + FILE + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (MODEL * 300 + FILE + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (MODEL.replace(b"nano", b"n" * (2 << 20)) + FILE + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (MODEL.replace(b'name="model"', b'nom="model"') + b"--x--\r\n", "multipart/form-data; boundary=x"),
        (
            MODEL + FILE.replace(b'name="file"', b'name="model"') + b"--x--\r\n",
            "multipart/form-data; boundary=x",
        ),
    ],
)
def test_forms_that_are_none(nano: Running, log: Log, body: bytes, kind: str) -> None:
    status, row, _ = post(nano, body, kind)
    assert status in (400, 404) and len(row["error"]["message"]) < 400
    wait_for(lambda: nano.state.admission.recordings == 0)
    assert not log.faults


@pytest.mark.parametrize(
    "fields",
    [
        [("keywords[]", "x" * 300)],
        [("prompt", "a, " * 30), ("keywords[]", "\0")],
        [("chunking_strategy", "[" * 50_000)],
        [("chunking_strategy", '{"type": "server_vad", "threshold": NaN}')],
        [("chunking_strategy", '{"type": "server_vad", "threshold": ' + "1" * 4000 + "}")],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "nan")],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[silence_duration_ms]", "1e400")],
        [("stream", "x" * 5000)],
        [("hotwords", "../../etc/passwd\0")],
        [("response_format", "\0")],
    ],
)
def test_fields_that_cannot_be(nano: Running, log: Log, fields: list[tuple[str, str]]) -> None:
    status, row, _ = transcribe(nano, *fields)
    assert status in (200, 400, 404), row
    assert status == 200 or len(row["error"]["message"]) < 400
    assert not log.faults


@pytest.mark.parametrize(
    "path", ["/page/%00", "/page/page.js%00", "/page/" + "a" * 5000, "/page/%ff%fe", "/%00", "//", "/page/"]
)
def test_paths_that_no_file_has(nano: Running, log: Log, path: str) -> None:
    assert ask(nano, "GET", path)[0] in (404, 405)
    assert not log.faults


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/v1/models", "/health", "/nothing", ROUTE])
@pytest.mark.parametrize("length", [str(26 << 20), "9" * 30])
def test_a_length_over_the_limit_is_refused_everywhere(
    nano: Running, log: Log, path: str, length: str
) -> None:
    status, row, _ = ask(nano, "GET", path, b"", content_length=length)
    assert status in (400, 413) and (status == 400 or row["error"]["code"] == "file_too_large")
    assert not log.faults


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (ValueError("operands could not be broadcast together"), 500),
        (RuntimeError("CUDA out of memory"), 500),
        (MemoryError(), 500),
        (KeyError("x"), 500),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "y"), 500),
        (OSError(errno.ENOSPC, "No space left on device", "/var/tmp/x"), 507),
        (OSError(errno.EMFILE, "Too many open files"), 503),
    ],
)
@pytest.mark.parametrize("where", ["route", "reader", "engine", "events"])
def test_faults_of_the_server(
    nano: Running, log: Log, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, where: str
) -> None:
    """Told in general, logged in particular, and counted as what they were."""

    def broken(*args: Any, **options: Any) -> Any:
        raise fault

    if where == "route":
        monkeypatch.setattr("nim4asr.serving.transcriptions.checked", broken)
        if isinstance(fault, UnicodeError):
            status = 400
    elif where == "engine":
        monkeypatch.setattr(nano.state.worker.model.network, "encode", broken)
    else:
        monkeypatch.setattr("nim4asr.serving.reading.cut_speech", broken)
    before = requests(nano, status)
    found, row, _ = transcribe(nano, ("stream", "true" if where == "events" else "false"))
    if where == "events":
        assert found == 200
        row = json.loads(row.removeprefix("data: "))
    else:
        assert found == status and requests(nano, status) == before + 1
    assert str(fault.args[0] if fault.args else "never") not in row["error"]["message"]
    if status != 400:
        assert "/var" not in row["error"]["message"] and row["error"]["type"] == "server_error"
        record = log.wait(lambda record: record.levelname == "ERROR")
        assert record.name == "nim4asr.serving" and (status == 503 or record.exc_info[1] is fault)  # type: ignore[index]
        assert sum(record.levelname == "ERROR" for record in log.records) == 1
    nano.settle()
    assert nano.state.admission.recordings == 0


def requests(server: Running, status: int) -> float:
    text = ask(server, "GET", "/metrics")[1]
    found = re.search(rf'nim4_requests_total{{route="{ROUTE}",status="{status}"}} (\S+)', text)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("path", ["/v1/models", "/v1/hotwords", "/metrics", "/ready"])
def test_faults_of_the_smaller_routes(
    nano: Running, log: Log, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def broken(*args: Any) -> Any:
        raise ValueError("injected")

    for name in (
        "nim4asr.serving.routes._model_row",
        "nim4asr.serving.hotword_lists.HotwordLists.all",
        "nim4asr.serving.metrics.Metrics.text",
        "nim4asr.serving.admission._Places.full",
    ):
        monkeypatch.setattr(name, property(broken) if name.endswith("full") else broken)
    status, row, headers = ask(nano, "GET", path)
    assert status == 500 and row["error"]["code"] == "server_error" and headers["x-request-id"]
    log.wait(lambda record: record.exc_info is not None)
    # The row of a request before it may come late.
    log.wait(lambda record: record.name.endswith(".requests") and record.row["status"] == 500)


def test_a_fault_before_a_handshake(nano: Running, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    def broken(*args: Any) -> Any:
        raise RuntimeError("injected")

    monkeypatch.setattr(nano.state.admission, "session", broken)
    for path in ("/", "/v1/realtime"):
        with pytest.raises(InvalidStatus) as refused, connect(nano.ws_url + path):
            pass
        assert refused.value.response.status_code == 500
    assert sum(record.exc_info is not None for record in log.records) == 2


def test_a_full_disk(nano: Running, log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """While an upload is spooled, and while a list is kept; nothing is told of the server's folders."""

    def full(*args: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    monkeypatch.setattr("nim4asr.serving.recordings.tempfile.mkstemp", full)
    status, row, _ = post(nano, *form([("model", "nano")], large()))
    assert (
        status == 507
        and "no room" in row["error"]["message"]
        and str(tmp_path) not in row["error"]["message"]
    )
    assert nano.state.admission.recordings == 0
    lists = HotwordLists(tmp_path)
    monkeypatch.setattr("nim4asr.files.os.fsync", full)
    with pytest.raises(ApiError) as raised:
        lists.put("people", "张伟东\n".encode())
    assert raised.value.status == 507 and str(tmp_path) not in raised.value.message
    # What locks a list stays, and is empty.
    left = [path.suffix for path in tmp_path.iterdir()]
    assert lists.all() == [] and set(left) <= {".lock"}


def test_a_list_put_and_deleted_at_once(tmp_path: Path) -> None:
    """Whatever order comes about, the list is kept in the folder and in memory, or in neither."""
    lists = HotwordLists(tmp_path)
    start, errors = threading.Barrier(4), list[Exception]()

    def use(number: int) -> None:
        start.wait(PATIENCE_S)
        for _ in range(20):
            try:
                if number % 2:
                    lists.delete("people")
                else:
                    lists.put("people", f"张伟{number}\n".encode())
            except ApiError as error:
                if error.status != 404:
                    errors.append(error)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert errors == []
    assert [one.name for one in lists.all()] == [path.stem for path in tmp_path.glob("*.db")]
    assert [one.name for one in HotwordLists(tmp_path).all()] == [one.name for one in lists.all()]


def test_a_spool_that_is_closed_while_it_is_written(scratch: Path) -> None:
    """Its thread may go on when whoever wrote has been cancelled; nothing is left all the same."""
    spool = Spool(10 << 20)
    spool._buffer = bytearray(2 << 20)
    spool.close()
    spool._flush()
    spool.close()
    assert list(scratch.iterdir()) == []


def test_events_with_segments_tell_words_and_how_far_it_is(nano: Running) -> None:
    fields = [("model", "nano"), ("stream", "true"), ("include[]", "nim4.segment")]
    status, text, _ = post(nano, *form(fields, CLIP))
    rows = [json.loads(line.removeprefix("data: ")) for line in text.strip().split("\n\n")]
    assert status == 200
    assert [row["type"] for row in rows] == [
        "transcript.text.delta",
        "nim4.segment",
        "nim4.transcript",
        "transcript.text.done",
    ]
    _, whole, _ = post(
        nano,
        *form(
            [
                ("model", "nano"),
                ("response_format", "verbose_json"),
                ("timestamp_granularities[]", "segment"),
                ("timestamp_granularities[]", "word"),
            ],
            CLIP,
        ),
    )
    assert [rows[1]["segment"]] == whole["segments"] and rows[1]["words"] == whole["words"]
    assert rows[2] == {"type": "nim4.transcript", "duration": whole["duration"], "truncated": False}
    # Only as events.
    status, row, _ = post(nano, *form([("model", "nano"), ("include[]", "nim4.segment")], CLIP))
    assert status == 400 and "stream=true" in row["error"]["message"]


def test_events_of_a_segment_come_while_the_next_is_still_read(
    nano: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that is there is not kept until a batch of segments is full."""
    told, clip = threading.Event(), read_audio(CLIP_FOLDER / "zh-1.flac")
    sound = np.concatenate([clip, np.zeros(20_000, np.float32)])

    def talk(source: Any, warn: Any, channel: int | None) -> Iterator[Any]:
        for _ in range(2):
            yield sound
            wait_for(lambda: not nano.state.worker._segments)
        assert told.wait(PATIENCE_S)
        yield clip

    monkeypatch.setattr("nim4asr.serving.reading.stream_audio", talk)
    body, kind = form([("model", "nano"), ("stream", "true")], CLIP)
    connection = http.client.HTTPConnection("127.0.0.1", nano.port, timeout=PATIENCE_S)
    connection.request("POST", ROUTE, body, {"content-type": kind})
    answer = connection.getresponse()
    assert "他是中国人" in answer.readline().decode()
    told.set()
    assert answer.read().decode().count("delta") == 4
    connection.close()
    nano.settle()


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "raw_unicode_escape"])
@pytest.mark.parametrize("field", ["name", "keywords[]", "prompt"])
def test_halves_of_characters(nano: Running, scratch: Path, log: Log, charset: str, field: str) -> None:
    """Some charsets have them, and no answer or header can hold one."""
    half = b"+2AA-" if charset == "utf-7" else b"\\ud800"
    name, value = (half, b"x") if field == "name" else (field.encode(), half)
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name, value)
    body = part + MODEL + FILE + b"--x--\r\n"
    status, row, _ = post(nano, body, f"multipart/form-data; boundary=x; charset={charset}")
    assert status == 400 and "UTF-8" in row["error"]["message"]
    nano.settle()
    assert nano.state.admission.recordings == 0 and list(scratch.iterdir()) == [] and not log.faults


def wav(samples: Any, format: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format=format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("level", "told"), [(0.0, "the sound is silent)"), (0.01, "(level -40 dBFS); if someone speaks, try")]
)
def test_a_recording_in_which_nothing_is_said_is_told(nano: Running, level: float, told: str) -> None:
    noise = np.random.default_rng(1).standard_normal(32_000).astype(np.float32) * level
    sound = wav(noise)
    for format in ("json", "verbose_json", "text", "srt", "vtt"):
        status, row, headers = post(nano, *form([("model", "nano"), ("response_format", format)], sound))
        assert status == 200 and headers["nim4-warning"].startswith("no speech was found")
        assert told in headers["nim4-warning"]
        if format.endswith("json"):
            assert row["warnings"] == [headers["nim4-warning"]] and row["text"] == ""
    whole = post(nano, *form([("model", "nano")]))
    assert "warnings" not in whole[1] and "nim4-warning" not in whole[2]
    fields = [("model", "nano"), ("stream", "true"), ("include[]", "nim4.segment")]
    events = post(nano, *form(fields, sound))[1]
    (last,) = [json.loads(row[6:]) for row in events.splitlines() if "nim4.transcript" in row]
    assert not last["truncated"] and told in last["warnings"][0]


def test_what_a_file_lacks_is_told_without_the_server_s_folders(nano: Running, scratch: Path) -> None:
    """One that is in memory and one that is on the disk."""
    for data in (wav(np.tile(read_audio(CLIP_FOLDER / "zh-1.flac"), 2)), large()):
        status, row, headers = post(nano, *form([("model", "nano")], data[:-20_000]))
        assert status == 200 and "the file is cut short" in headers["nim4-warning"]
        assert headers["nim4-warning"] == row["warnings"][0] and str(scratch) not in str(row)


def call() -> Any:
    """A telephone call (N, 2): one speaks Chinese, then the other English."""
    first, second = (read_audio(CLIP_FOLDER / f"{name}.flac") for name in ("zh-1", "en-1"))
    sound = np.zeros((len(first) + len(second) + 16_000, 2), np.float32)
    sound[: len(first), 0] = first
    sound[len(first) + 8000 : len(first) + 8000 + len(second), 1] = second
    return sound


def test_each_channel_for_itself(nano: Running, log: Log) -> None:
    def ask_for(channels: str, format: str, data: bytes, **more: str) -> tuple[int, Any, Any]:
        fields = [("model", "nano"), ("channels", channels), ("response_format", format), *more.items()]
        return post(nano, *form(fields, data))

    data = wav(call())
    _, row, _ = ask_for("apart", "verbose_json", data, **{"timestamp_granularities[]": "word"})
    assert row["words"][0]["channel"] == 1 and row["words"][-1]["channel"] == 2
    _, row, _ = ask_for("apart", "verbose_json", data)
    assert [(one["channel"], one["text"]) for one in row["segments"]] == [
        (1, "他是中国人"),
        (2, "what do you want"),
    ]
    assert "warnings" not in row and row["duration"] == pytest.approx(len(call()) / 16_000, abs=0.01)
    assert ask_for("apart", "text", data)[1] == "[1] 他是中国人\n[2] what do you want\n"
    assert "[2] what do you want" in ask_for("apart", "srt", data)[1]
    assert "<v Channel 1>" in ask_for("apart", "vtt", data)[1]
    _, row, _ = ask_for("2", "verbose_json", data)
    assert row["text"] == "what do you want" and row["segments"][0]["channel"] == 2
    _, row, _ = ask_for("mixed", "verbose_json", data)
    assert "channel" not in row["segments"][0]
    # The same sound twice is one.
    twice = wav(np.repeat(call()[:, :1], 2, axis=1))
    _, row, headers = ask_for("apart", "json", twice)
    assert row["text"] == "他是中国人" and "hold the same sound" in headers["nim4-warning"]
    assert not log.faults


@pytest.mark.parametrize(
    ("channels", "extra", "sentence"),
    [
        ("0", {}, "channels are"),
        ("-1", {}, "channels are"),
        ("left", {}, "channels are"),
        ("1" * 5000, {}, "channels are"),
        ("²", {}, "channels are"),
        ("3", {}, "there is no channel 3; the recording has 2"),
        ("apart", {"stream": "true"}, "without stream"),
    ],
)
def test_channels_that_cannot_be(
    nano: Running, channels: str, extra: dict[str, str], sentence: str, log: Log
) -> None:
    fields = [("model", "nano"), ("channels", channels), *extra.items()]
    status, row, _ = post(nano, *form(fields, wav(call())))
    assert status == 400 and sentence in row["error"]["message"] and not log.faults


def test_channels_are_bounded(serve: Callable[..., Any]) -> None:
    """Hours of silence in a few bytes, so many channels of it, and a partner who is silent for long."""
    many = wav(np.random.default_rng(1).standard_normal((1600, 17)).astype(np.float32))
    bomb = io.BytesIO()
    clicks = np.zeros((8000 * 3600, 8), np.int16)
    clicks[0, 0] = 20_000
    soundfile.write(bomb, clicks, 8000, format="FLAC")
    partner = np.concatenate([call(), np.zeros((16_000 * 50, 2), np.float32)])
    with serve(ServerConfig(max_silence_s=10.0)) as server:
        for data, sentence in (
            (many, "17 channels; at most 16"),
            (bomb.getvalue(), "longer than the 1800 s allowed here for 8 channels"),
        ):
            status, row, _ = post(server, *form([("model", "nano"), ("channels", "apart")], data))
            assert status == 400 and sentence in row["error"]["message"]
        status, row, _ = post(server, *form([("model", "nano")], wav(partner)))
        assert status == 400 and "nobody speaks" in row["error"]["message"]
        status, row, _ = post(server, *form([("model", "nano"), ("channels", "apart")], wav(partner)))
        assert status == 200 and row["text"] == "他是中国人what do you want"


def test_a_container_that_is_too_long_is_refused_before_the_work(serve: Callable[..., Any]) -> None:
    """By what its header says; where that cannot be, the sound decides."""
    av = pytest.importorskip("av")
    clip = read_audio(CLIP_FOLDER / "zh-1.flac")
    # Longer than what is read at once.
    samples = np.tile(np.concatenate([clip, np.zeros(12_000, np.float32)]), 20)
    files: dict[str, bytes] = {}
    for format, codec in (("mp4", "aac"), ("matroska", "libopus")):
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=format) as container:
            stream = container.add_stream(codec, rate=16_000)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = 16_000
            resampler = av.AudioResampler(stream.format, stream.layout, stream.rate)
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(stream.encode(part))
            container.mux(stream.encode(None))
        files[format] = buffer.getvalue()
    with serve(ServerConfig(max_duration_s=30.0)) as server:
        for format, data in files.items():
            began = server.state.worker.engine.stats.encoder_calls
            status, row, _ = post(server, *form([("model", "nano")], data))
            assert status == 400 and "longer than the 30 s" in row["error"]["message"], format
            assert server.state.worker.engine.stats.encoder_calls == began
    with serve() as server:
        data = files["mp4"]
        # Damage.
        place = data.index(b"mvhd") + 20
        lying = data[:place] + (10**9).to_bytes(4, "big") + data[place + 4 :]
        status, row, _ = post(server, *form([("model", "nano")], lying))
        assert status == 200 and "中国人" in row["text"]
