"""A server among clients that send anything: requests of every protocol, damaged.

    python -m tests.serving.attack --count 5000 --seed 1

Starts ``nim4 serve`` and tells of every answer that is the server's fault, every one that does not come,
every error in its log, and of what is left afterwards: sessions, streams, threads, descriptors, memory.
"""

import argparse
import asyncio
import io
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile
from tests.fuzzing import damaged, edited, text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

CLIP = Path(__file__).parents[1] / "clips/zh-1.flac"
# So long an answer may take, on a machine that does other things as well.
PATIENCE_S = 240.0
TOGETHER = 8
# What a server that has worked may have kept: threads of its pools, descriptors of connections that are
# closing, and memory.
MORE_THREADS, MORE_DESCRIPTORS, MORE_MB = 24, 6, 50


class Server:
    """``nim4 serve`` in a process of its own, with Wyoming, and a folder for lists."""

    def __init__(self, *options: str) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="nim4asr-attack-")
        self.wyoming = _free_port()
        command = [sys.executable, "-m", "nim4asr", "serve", "--port", "0", "--wyoming", str(self.wyoming)]
        command += ["--hotwords-dir", f"{self._scratch.name}/lists", *options]
        environment = {**os.environ, "TMPDIR": self._scratch.name}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self.process.stderr is not None
        self.lines: list[str] = []
        while "listening at" not in (line := self.process.stderr.readline()):
            assert line, self.lines
            self.lines.append(line)
        self.port = int(line.rstrip("/\n").rpartition(":")[2])
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr or ()))
        self._reader.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._scratch.cleanup()

    @property
    def faults(self) -> list[str]:
        """Lines of the log that tell of one."""
        return [line for line in self.lines if '"level": "error"' in line or "raceback" in line]

    @property
    def left(self) -> dict[str, int]:
        """Threads, descriptors and memory of the process, and its temporary files."""
        process = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return {
            "threads": int(status["Threads"]),
            "descriptors": len(list((process / "fd").iterdir())),
            "memory_mb": int(status["VmRSS"].split()[0]) // 1024,
            "files": len([path for path in Path(self._scratch.name).iterdir() if path.is_file()]),
        }


def _free_port() -> int:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


# --- What is sent
# ---------------------------------------------------------------------------------------------


def sound(random: Random, kind: str = "<i2") -> bytes:
    """A tenth of a second of something."""
    samples = np.random.default_rng(random.randrange(1 << 30)).standard_normal(random.randint(0, 1600)) * 0.3
    return (samples * 32767).astype("<i2").tobytes() if kind == "<i2" else samples.astype(kind).tobytes()


def recording(random: Random) -> bytes:
    """A file of sound, or what was one."""
    buffer = io.BytesIO()
    format = random.choice(["WAV", "FLAC", "OGG", "MP3"])
    soundfile.write(buffer, np.zeros(random.randint(1, 4000), np.float32), 16_000, format=format)
    whole = random.choice([buffer.getvalue(), CLIP.read_bytes(), b"", random.randbytes(300)])
    return damaged(whole, random) if random.random() < 0.7 else whole


def form(random: Random) -> tuple[bytes, str]:
    """A form for a transcription, and its type."""
    names = [
        "file",
        "model",
        "response_format",
        "stream",
        "include[]",
        "hotwords",
        "hotwords[]",
        "keywords[]",
    ]
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
        "verbose_json",
        "srt",
        "true",
        "server_vad",
        "auto",
        "word",
        "logprobs",
        "{",
        "",
        "0",
    ]
    fields = [("model", "nano"), ("response_format", random.choice(values[1:4]))]
    fields += [
        (random.choice([*names, text(random)]), random.choice([*values, text(random)]))
        for _ in range(random.choice((0, 0, 1, 3)))
    ]
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (name.encode("utf-8", "replace"), value.encode("utf-8", "replace"))
        for name, value in fields
    ]
    parts.append(
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + recording(random)
        + b"\r\n"
    )
    body = b"".join(parts) + b"--x--\r\n"
    charset = random.choice(
        ["", "", "", "; charset=utf-8", "; charset=punycode", "; charset=utf-16", "; charset="]
    )
    kind = random.choice(
        ["multipart/form-data; boundary=x", "multipart/form-data; boundary=x", "text/plain", ""]
    )
    return (damaged(body, random) if random.random() < 0.3 else body), kind + charset


SECRETS = {
    "expires_after": {"anchor": "created_at", "seconds": 60},
    "session": {"type": "transcription", "audio": {"input": {"turn_detection": None}}},
}
PATHS = (
    *(
        "/",
        "/health",
        "/ready",
        "/metrics",
        "/v1/models",
        "/v1/models/nano",
        "/v1/hotwords",
        "/v1/hotwords/people",
    ),
    *(
        "/v1/audio/translations",
        "/v1/realtime",
        "/page/page.js",
        "/page/%00",
        "/%ff%fe",
        "/page/../../x",
        "//",
    ),
    "/v1/hotwords/%2e%2e",
)


def request(random: Random) -> bytes:
    """An HTTP request; now and then it is no longer one."""
    if random.random() < 0.05:
        return random.randbytes(random.randint(1, 200))
    method = random.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "GE\tT"])
    path, body, kind = random.choice(PATHS), b"", "text/plain"
    choice = random.random()
    if choice < 0.45:
        method, path = "POST", "/v1/audio/transcriptions"
        body, kind = form(random)
    elif choice < 0.55:
        method, path, kind = "POST", "/v1/realtime/client_secrets", "application/json"
        body = json.dumps(edited(SECRETS, random)).encode()
        body = damaged(body, random) if random.random() < 0.3 else body
    elif choice < 0.65:
        method, path = "PUT", f"/v1/hotwords/{random.choice(['people', 'a', '%00', 'x' * 70])}"
        kind = random.choice(["text/plain", "text/csv", "application/jsonl"])
        body = text(random).encode("utf-8", "replace") * random.randint(0, 3)
    headers = {
        "host": "localhost",
        "content-type": kind,
        "content-length": str(len(body)),
        "connection": "close",
    }
    if random.random() < 0.3:
        weird = [
            "",
            "0",
            "-1",
            "9" * 40,
            "x",
            "\xff",
            "Bearer \xff",
            "Bearer ek_x.y",
            "gzip",
            "chunked",
            "null",
        ]
        weird += ["http://localhost", "localhost:99999999", "[::1", "bytes=0-,,", "websocket"]
        names = [
            "host",
            "origin",
            "authorization",
            "range",
            "cookie",
            "accept",
            "upgrade",
            "transfer-encoding",
        ]
        names += ["content-length", "x-forwarded-for", "expect", "sec-websocket-protocol"]
        headers[random.choice(names)] = random.choice(weird)
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in headers.items()
    )
    whole = head.encode("latin-1") + b"\r\n" + body
    return damaged(whole, random) if random.random() < 0.1 else whole


UPDATE = {
    "type": "session.update",
    "event_id": "mine",
    "session": {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 16000},
                "noise_reduction": {"type": "near_field"},
                "transcription": {"model": "nano", "language": "zh", "prompt": "a", "keywords": ["张伟东"]},
                "turn_detection": {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 500},
            }
        },
        "include": ["nim4.hypothesis"],
    },
}
FUNASR = {
    "mode": "2pass",
    "chunk_size": [5, 10, 5],
    "audio_fs": 16000,
    "wav_name": "a",
    "wav_format": "pcm",
    "is_speaking": True,
    "hotwords": '{"张伟东": 20}',
    "itn": True,
}
START = {"type": "audio-start", "data": {"rate": 16000, "width": 2, "channels": 1}}


def row(random: Random, *rows: dict[str, Any]) -> str:
    """One of ``rows``, with something of it changed."""
    changed = json.dumps(
        edited(random.choice(rows), random) if random.random() < 0.7 else random.choice(rows)
    )
    if random.random() < 0.15:
        changed = damaged(changed.encode(), random).decode("utf-8", "replace")
    if random.random() < 0.1:
        changed = changed.replace('"', random.choice(["NaN", "1e999", '"\\ud800', "'"]), 1)
    return changed


def realtime_message(random: Random) -> str | bytes:
    import base64

    if random.random() < 0.1:
        return random.randbytes(random.randint(0, 100))
    append = {"type": "input_audio_buffer.append", "audio": base64.b64encode(sound(random)).decode()}
    others = [{"type": f"input_audio_buffer.{kind}"} for kind in ("commit", "clear")]
    return row(random, UPDATE, append, append, *others, {"type": "response.create"})


def funasr_message(random: Random) -> str | bytes:
    if random.random() < 0.5:
        return random.choice([sound(random), recording(random), random.randbytes(random.randint(0, 99))])
    return row(
        random, FUNASR, FUNASR, {**FUNASR, "mode": "offline", "wav_format": "mp3"}, {"is_speaking": False}
    )


def sherpa_message(random: Random) -> str | bytes:
    data = sound(random, "<f4")
    header = struct.pack(
        "<II", random.choice([16_000, 8000, 0, 1 << 31]), random.choice([len(data), 8, 0, 10**9])
    )
    return random.choice(
        [
            data,
            header + data,
            data[:-1],
            random.randbytes(random.randint(0, 64)),
            text(random).replace("\ud800", ""),
        ]
    )


def wyoming_message(random: Random) -> bytes:
    chunk = sound(random)
    rows: tuple[dict[str, Any], ...] = (
        START,
        {"type": "describe"},
        {"type": "transcribe", "data": {"transcript_terms": ["张伟东"]}},
        {**START, "type": "audio-chunk", "payload_length": len(chunk)},
        {"type": "audio-stop"},
        {"type": "transcribe", "data_length": random.choice([2, 10**12, -1])},
    )
    one = json.dumps(edited(random.choice(rows), random) if random.random() < 0.6 else random.choice(rows))
    message = one.encode() + b"\n" + (chunk if "payload_length" in one else b"")
    return damaged(message, random) if random.random() < 0.3 else message


# --- How it is answered
# ---------------------------------------------------------------------------------------


async def attack_http(server: Server, random: Random) -> str | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    data = request(random)
    try:
        writer.write(data)
        if random.random() < 0.05:
            # Gone before it is answered.
            writer.transport.abort()
            return None
        # Of a connection that is closed by now it says that there is none: no ``ConnectionError``.
        with suppress(OSError):
            writer.write_eof()
        answer = await reader.read()
    except ConnectionError:
        return None
    finally:
        writer.close()
    status = answer.split(b" ", 2)[1:2]
    if status == [b"500"]:
        return f"{data[:300]!r}: {answer[-300:]!r}"
    return None


async def attack_socket(
    server: Server,
    random: Random,
    path: str,
    subprotocols: Any,
    message: Callable[[Random], str | bytes],
    last: str,
    is_last: Callable[[Any], bool],
) -> str | None:
    sent: list[str | bytes] = []
    try:
        async with connect(
            f"ws://127.0.0.1:{server.port}{path}", subprotocols=subprotocols, max_size=None, proxy=None
        ) as socket:
            for _ in range(random.randint(1, 6)):
                sent.append(message(random))
                await socket.send(sent[-1])
            if random.random() < 0.1:
                socket.transport.abort()
                return None
            sent.append(last)
            await socket.send(last)
            return await _answers(socket, is_last, sent)
    except ConnectionClosed as closed:
        if closed.rcvd is not None and closed.rcvd.code == 1011:
            return f"{str(sent)[:600]}: closed with 1011"
    except (InvalidHandshake, InvalidMessage) as error:
        return f"no handshake: {error}"
    except UnicodeEncodeError:
        # What this client cannot send.
        pass
    return None


async def _answers(socket: ClientConnection, is_last: Callable[[Any], bool], sent: list[Any]) -> str | None:
    while True:
        answer = await socket.recv()
        if "server_error" in str(answer) or "the server failed" in str(answer):
            return f"{str(sent)[:600]}: {str(answer)[:300]}"
        if is_last(answer):
            return None


async def attack_wyoming(server: Server, random: Random) -> str | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.wyoming)
    sent = b"".join(wyoming_message(random) for _ in range(random.randint(1, 5)))
    try:
        writer.write(sent)
        # Of a connection that is closed by now it says that there is none: no ``ConnectionError``.
        with suppress(OSError):
            writer.write_eof()
        answer = await reader.read()
    except ConnectionError:
        return None
    finally:
        writer.close()
    return f"{sent[:300]!r}: {answer[-300:]!r}" if b"server_error" in answer else None


async def attack(server: Server, random: Random) -> str | None:
    """One client of some protocol; what went wrong, if anything did."""
    choice = random.random()
    if choice < 0.4:
        return await attack_http(server, random)
    if choice < 0.6:
        end = '{"type": "the.end"}'
        path = "/v1/realtime" + random.choice(["", "?intent=transcription&hypotheses=1"])
        return await attack_socket(
            server, random, path, None, realtime_message, end, lambda answer: "the.end" in str(answer)
        )
    if choice < 0.75:
        end = '{"is_speaking": false}'
        return await attack_socket(
            server,
            random,
            "/",
            ["binary"],
            funasr_message,
            end,
            lambda answer: '"is_end":true' in str(answer),
        )
    if choice < 0.9:
        return await attack_socket(
            server, random, "/", None, sherpa_message, "Done", lambda answer: answer == "Done!"
        )
    return await attack_wyoming(server, random)


# --- The whole
# ------------------------------------------------------------------------------------------------


async def all_attacks(server: Server, count: int, seed: int) -> list[str]:
    """What went wrong in ``count`` of them, some at a time."""
    numbers, wrong = iter(range(count)), list[str]()

    async def some() -> None:
        for number in numbers:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    fault = await attack(server, Random(f"{seed} {number}"))
            except TimeoutError:
                fault = "no answer in time"
            except OSError as error:
                fault = f"{type(error).__name__}: {error}"
            if fault is not None:
                wrong.append(f"attack {number}, seed {seed}: {fault}")

    workers: list[Awaitable[None]] = [some() for _ in range(TOGETHER)]
    await asyncio.gather(*workers)
    return wrong


async def transcribed(server: Server) -> str:
    """The text of a clip: the server does its work."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nnano\r\n'
    body += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + CLIP.read_bytes()
    body += b"\r\n--x--\r\n"
    head = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["text"])


async def settled(server: Server) -> str:
    """The metrics, once no session is open."""
    end = time.monotonic() + PATIENCE_S
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        if "nim4_open_sessions 0.0" in answer and "nim4_streams 0.0" in answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError("sessions or streams are left:\n" + answer)
        await asyncio.sleep(0.1)


def failures(count: int, seed: int) -> Iterator[str]:
    """What goes wrong in ``count`` attacks, and what they leave."""
    with Server() as server:
        # What is loaded at first use is no leak.
        asyncio.run(transcribed(server))
        asyncio.run(all_attacks(server, min(count, 60), -1))
        asyncio.run(settled(server))
        before = server.left
        yield from asyncio.run(all_attacks(server, count, seed))
        metrics = asyncio.run(settled(server))
        if 'status="500"' in metrics:
            yield "requests were counted as 500"
        if (said := asyncio.run(transcribed(server))) != "他是中国人":
            yield f"the server says {said!r}"
        after = server.left
        # Connections that were cut off are still being closed.
        end = time.monotonic() + 60
        while after["descriptors"] > before["descriptors"] + MORE_DESCRIPTORS and time.monotonic() < end:
            time.sleep(0.5)
            after = server.left
        bounds = {"threads": MORE_THREADS, "descriptors": MORE_DESCRIPTORS, "memory_mb": MORE_MB, "files": 0}
        for what, more in bounds.items():
            if after[what] > before[what] + more:
                yield f"{what}: {before[what]} before, {after[what]} after"
        print(f"before {before}, after {after}", file=sys.stderr)
    yield from server.faults


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    with suppress(KeyboardInterrupt):
        for fault in failures(options.count, options.seed):
            print(fault, flush=True)
            wrong += 1
    print(f"{options.count} attacks, {wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
