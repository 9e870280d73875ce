"""Limits, access, lists, health: what a server refuses and how."""

import http.client
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import CLIP_FOLDER
from nim4asr.hotwords.index import HotwordIndex
from nim4asr.hotwords.names import Name
from nim4asr.serving import routes
from nim4asr.serving.access import Client
from nim4asr.serving.configuration import ServerConfig
from nim4asr.serving.hotword_lists import HotwordLists
from nim4asr.serving.keys import Key
from nim4asr.serving.logs import JsonRows
from serving.conftest import PATIENCE_S, Log, Running

CLIP = (CLIP_FOLDER / "zh-1.flac").read_bytes()


def form(fields: list[tuple[str, str]], file: bytes | None = CLIP) -> tuple[bytes, str]:
    """A multipart form and its content type."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields]
    if file is not None:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        parts.append(head + file + b"\r\n")
    return b"".join(parts) + b"--x--\r\n", "multipart/form-data; boundary=x"


def ask(server: Running, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, JSON (or text) and headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    try:
        return response.status, json.loads(data), response.headers
    except ValueError:
        return response.status, data.decode(), response.headers


def transcribe(server: Running, *fields: tuple[str, str], **headers: str) -> tuple[int, Any, Any]:
    body, kind = form([("model", "nano"), *fields])
    return ask(server, "POST", "/v1/audio/transcriptions", body, content_type=kind, **headers)


def test_sixty_mebibytes_without_a_length_are_refused(nano: Running) -> None:
    def pieces() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(60):
            yield random.Random(0).randbytes(1 << 20)

    try:
        status, row, _ = ask(
            nano, "POST", "/v1/audio/transcriptions", pieces(), content_type="multipart/form-data; boundary=x"
        )
        assert status == 413 and row["error"]["code"] == "file_too_large"
    except (BrokenPipeError, ConnectionResetError):
        # The server has answered and hung up before all was sent.
        pass
    big = ask(nano, "POST", "/v1/audio/transcriptions", b"", content_length=str(60 << 20), content_type="x/y")
    assert big[0] in (400, 413)
    assert transcribe(nano)[1]["text"] == "他是中国人"


def test_a_recording_too_long_is_refused(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(max_duration_s=1.0)) as server:
        status, row, _ = transcribe(server)
        assert status == 400 and "longer than the 1 s" in row["error"]["message"]


def test_too_many_recordings_are_told_to_wait(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(max_recordings=1, max_waiting=0)) as server:
        with server.state.admission.recording(Client("another")):
            status, row, headers = transcribe(server)
            assert status == 429 and headers["retry-after"] and row["error"]["type"] == "rate_limit_error"
        assert transcribe(server)[0] == 200


def test_who_sends_too_much_waits(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(audio_s_per_minute=1.0)) as server:
        assert transcribe(server)[0] == 200
        status, row, headers = transcribe(server)
        assert status == 429 and int(headers["retry-after"]) > 30 and "in a minute" in row["error"]["message"]


def test_keys(serve: Callable[..., Any]) -> None:
    with serve(ServerConfig(keys=frozenset({"one", "two"}))) as server:
        for path in ("/v1/models", "/v1/models/nano", "/v1/hotwords"):
            assert ask(server, "GET", path)[0] == 401
            assert ask(server, "GET", path, authorization="Bearer on")[0] == 401
            assert ask(server, "GET", path, authorization="Basic one")[0] == 401
            assert ask(server, "GET", path, authorization="Bearer two")[0] == 200
        assert transcribe(server)[0] == 401
        assert transcribe(server, authorization="Bearer one")[0] == 200
        # Whoever watches the server needs none.
        assert ask(server, "GET", "/health")[0] == ask(server, "GET", "/ready")[0] == 200


def test_health_when_the_engine_hangs(nano: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_LATE_BEAT_S", -1.0)
    status, row, _ = ask(nano, "GET", "/health")
    assert status == 500 and row == {"status": "the engine hangs"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/v1/audio/transcriptions", 405), ("GET", "/page/../../x", 404)],
)
def test_errors_have_one_shape(nano: Running, method: str, path: str, status: int) -> None:
    found, row, headers = ask(nano, method, path)
    assert found == status and set(row["error"]) == {"message", "type", "param", "code"}
    assert headers["x-request-id"]


def test_lists_are_kept_named_and_laid_over(tmp_path: Path, serve: Callable[..., Any]) -> None:
    with serve(None, HotwordLists(tmp_path)) as server:
        status, row, _ = ask(server, "PUT", "/v1/hotwords/people", "中国人\n张伟东\n".encode())
        assert status == 200 and row["names"] == 2
        assert (tmp_path / "people.db").exists()
        assert [one["id"] for one in ask(server, "GET", "/v1/hotwords")[1]["data"]] == ["people"]
        _, row, _ = transcribe(
            server, ("response_format", "verbose_json"), ("hotwords", "people"), ("hotwords[]", "北京")
        )
        assert [hit["text"] for hit in row["segments"][0]["hits"]] == ["中国人"]
        csv = "text,weight\n重庆,2\n".encode()
        assert ask(server, "PUT", "/v1/hotwords/people", csv, content_type="text/csv")[1]["names"] == 1
        for bad in ("a%2Fb", "a.b", "..", "x" * 65):
            assert ask(server, "PUT", f"/v1/hotwords/{bad}", b"x")[0] in (400, 404, 405)
        status, row, _ = ask(server, "PUT", "/v1/hotwords/none", b"")
        assert (
            status == 400
            and str(tmp_path) not in row["error"]["message"]
            and "/tmp" not in row["error"]["message"]
        )
        status, row, _ = ask(server, "PUT", "/v1/hotwords/long", b"x\n" * 20_001)
        assert status == 400 and "nim4 hotwords build" in row["error"]["message"]
        assert ask(server, "DELETE", "/v1/hotwords/people")[1]["deleted"]
        assert ask(server, "GET", "/v1/hotwords/people")[0] == 404 and not (tmp_path / "people.db").exists()


def test_databases_are_lists_too(tmp_path: Path) -> None:
    index = HotwordIndex()
    index.add([Name("中国人")])
    index.save(tmp_path / "names.db")
    lists = HotwordLists()
    lists.put("names", (tmp_path / "names.db").read_bytes())
    hints, chosen = lists.chosen("names", ["北京"])
    assert hints == () and chosen is not None and sorted(chosen.texts()) == ["中国人", "北京"]
    # Kept in a folder, they are there after a restart.
    HotwordLists(tmp_path / "kept").put("names", (tmp_path / "names.db").read_bytes())
    assert [len(one.index) for one in HotwordLists(tmp_path / "kept").all()] == [1]


def test_many_keywords_are_listened_for(nano: Running) -> None:
    names = [("keywords[]", name) for name in ["中国人", *(f"张伟{chr(0x4E00 + i)}" for i in range(40))]]
    _, row, _ = transcribe(nano, ("response_format", "verbose_json"), *names)
    assert "中国人" in [hit["text"] for hit in row["segments"][0]["hits"]]


def test_metrics_and_log_hold_no_text(nano: Running, log: Log) -> None:
    assert transcribe(nano, ("keywords", "秘密"))[1]["text"] == "他是中国人"
    status, text, _ = ask(nano, "GET", "/metrics")
    assert status == 200 and 'nim4_requests_total{route="/v1/audio/transcriptions",status="200"}' in text
    assert "nim4_streams 0.0" in text
    request = log.wait(lambda record: record.name == "nim4asr.serving.requests")
    lines = "".join(map(JsonRows().format, log.records))
    assert "中国人" not in lines + text and "秘密" not in lines + text and "127.0.0.1" not in lines
    row = json.loads(JsonRows().format(request))
    assert row["route"] == "/v1/audio/transcriptions" and row["status"] == 200 and row["level"] == "info"


def test_cors_is_off_unless_asked_for(nano: Running, serve: Callable[..., Any]) -> None:
    assert "access-control-allow-origin" not in ask(nano, "GET", "/v1/models", origin="https://a.example")[2]
    with serve(ServerConfig(cors_origins=("https://a.example",))) as server:
        headers = ask(server, "GET", "/v1/models", origin="https://a.example")[2]
        assert headers["access-control-allow-origin"] == "https://a.example"


def test_draining_refuses_what_is_new(serve: Callable[..., Any]) -> None:
    with serve() as server:
        server.state.lifecycle.drain()
        assert ask(server, "GET", "/ready")[1]["status"] == "draining"
        assert transcribe(server)[0] == 503


@pytest.mark.slow
def test_ten_thousand_damaged_requests_end_in_no_500(nano: Running) -> None:
    """Random methods, paths, headers, forms and JSON; each gets a status below 500."""
    source = random.Random(7)
    paths = [
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/models",
        "/v1/models/x",
        "/v1/hotwords",
    ]
    paths += ["/v1/hotwords/n", "/v1/realtime", "/", "/page/page.js", "/page/%00", "/metrics", "/%ff%fe"]
    names = ["file", "model", "response_format", "stream", "include[]", "hotwords", "hotwords[]", "keywords"]
    names += [
        "timestamp_granularities[]",
        "chunking_strategy",
        "chunking_strategy[type]",
        "prompt",
        "temperature",
    ]
    values = [
        "nano",
        "json",
        "srt",
        "true",
        "server_vad",
        "{",
        "[]",
        '{"type":"server_vad","threshold":"x"}',
        "名",
        "",
    ]
    connection = http.client.HTTPConnection("127.0.0.1", nano.port, timeout=60)
    statuses: dict[int, int] = {}
    for _ in range(10_000):
        fields = [(source.choice(names), source.choice(values)) for _ in range(source.randint(0, 6))]
        body, kind = form(fields, source.choice([None, b"", b"junk", CLIP[: source.randint(0, 300)]]))
        if source.random() < 0.4:
            body = bytearray(body)
            for _ in range(source.randint(1, 8)):
                body[source.randrange(len(body))] = source.randrange(256)
        headers = {
            "content-type": source.choice([kind, "multipart/form-data", "application/json", "\x7f", ""])
        }
        if source.random() < 0.2:
            headers[source.choice(["authorization", "accept", "range", "cookie", "upgrade"])] = source.choice(
                values[:8]
            )
        try:
            method = source.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
            connection.request(method, source.choice(paths), bytes(body), headers)
            response = connection.getresponse()
            response.read()
        except (http.client.HTTPException, OSError):
            connection.close()
            continue
        statuses[response.status] = statuses.get(response.status, 0) + 1
    connection.close()
    assert sum(statuses.values()) > 9000 and max(statuses) < 500, statuses
    assert transcribe(nano)[1]["text"] == "他是中国人"


def test_rows_of_the_log_name_the_key_and_never_hold_it(serve: Callable[..., Any], log: Log) -> None:
    with serve(ServerConfig(keys=(Key("sk-secret", "alice"),))) as server:
        assert ask(server, "GET", "/v1/models", authorization="Bearer sk-secret")[0] == 200
        assert ask(server, "GET", "/v1/models", authorization="Bearer sk-wrong")[0] == 401
        assert transcribe(server, authorization="Bearer sk-secret")[0] == 200
        log.wait(lambda record: getattr(record, "row", {}).get("route") == "/v1/audio/transcriptions")
    rows = [record.row for record in log.records if hasattr(record, "row")]
    assert [row.get("client") for row in rows] == ["alice", None, "alice"]
    assert not any("sk-" in JsonRows().format(record) for record in log.records)
