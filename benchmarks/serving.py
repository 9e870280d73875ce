"""How a server holds up: n live sessions over the Realtime protocol, paced as people speak.

    python benchmarks/serving.py CLIPS... [--streams 1 8 16 32 48] [--seconds 30] [--beside FILE]
        [--busy N] [--output DIR]

Starts ``nim4 serve``, lets n clients send the clips with pauses between them, in blocks of 100 ms, and
measures of each partial how long after its last sound it came, and of each final how long after the end of
speech was told, and after the speech itself. What a client sent and the server did not recognize would show
as a missing turn. ``--beside`` uploads a recording again and again meanwhile; ``--busy`` runs loops that keep
a core busy each.
"""

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
from runtimes import processor
from websockets.asyncio.client import connect

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats

BLOCK_S = 0.1
PAUSE_S = 1.2
PATIENCE_S = 1800.0


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 8, 16, 32, 48])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--beside", type=Path)
    parser.add_argument("--busy", type=int, default=0, help="processes that do nothing but keep a core busy")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    clips = [read_audio(clip) for clip in options.clips]
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    try:
        rows = [measured(clips, n, options.seconds, options.beside) for n in options.streams]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    for row in rows:
        row["busy_loops"] = options.busy
    result = {"machine": processor(), "date": datetime.now(UTC).date().isoformat(), "rows": rows}
    print(json.dumps(result, indent=1))
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "serving.json").write_text(json.dumps(result, indent=1) + "\n")


def measured(clips: list[Floats], streams: int, seconds: float, beside: Path | None) -> dict[str, Any]:
    """One load, on a server of its own."""
    command = [sys.executable, "-m", "nim4asr", "serve", "--port", "0", "--max-streams", "64"]
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            url = server.stderr.readline().split()[-1].rstrip("/")
            started = time.monotonic() - began
            cpu = processor_seconds(server.pid)
            outcomes = asyncio.run(load(url, clips, streams, seconds, beside))
            cpu = processor_seconds(server.pid) - cpu
            memory = memory_mb(server.pid)
        finally:
            server.terminate()
    partials = [delay for one in outcomes for delay in one["partials"]]
    finals = [delay for one in outcomes for delay in one["finals"]]
    sound = sum(one["seconds"] for one in outcomes)
    return {
        "streams": streams,
        "start_seconds": round(started, 2),
        "partial_seconds": quantiles(partials),
        "final_seconds": quantiles(finals),
        "final_seconds_after_speech": quantiles([delay for one in outcomes for delay in one["after_speech"]]),
        "turns_sent": sum(one["turns"] for one in outcomes),
        "turns_recognized": len(finals),
        "in_order": all(one["stopped"] == one["completed"] for one in outcomes),
        "last_final_seconds_after_sound": round(max(one["caught_up"] for one in outcomes), 2),
        "load_average": os.getloadavg()[0],
        "processor_seconds_per_second": round(cpu / sound, 4),
        "memory_mb": memory,
    }


async def load(
    url: str, clips: list[Floats], streams: int, seconds: float, beside: Path | None
) -> list[dict[str, Any]]:
    """All clients, a little apart, and the uploads beside them."""
    uploads = asyncio.create_task(asyncio.to_thread(upload_until, url, beside, time.monotonic() + seconds))
    outcomes = await asyncio.gather(*(client(url, clips, i, seconds) for i in range(streams)))
    await uploads
    return list(outcomes)


async def client(url: str, clips: list[Floats], number: int, seconds: float) -> dict[str, Any]:
    """One session: the clips in an order of its own, with pauses."""
    random = np.random.default_rng(number)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    sound, turns = [pause], 0
    while sum(map(len, sound)) < seconds * SAMPLE_RATE:
        sound += [clips[int(random.integers(len(clips)))], pause]
        turns += 1
    samples = np.concatenate(sound)
    await asyncio.sleep(float(random.uniform(0, 2)))
    address = url.replace("http", "ws", 1) + "/v1/realtime?hypotheses=1"
    outcome: dict[str, Any] = {
        "partials": [],
        "finals": [],
        "after_speech": [],
        "seconds": len(samples) / SAMPLE_RATE,
        "turns": turns,
        "stopped": [],
        "completed": [],
    }
    async with connect(address, max_size=None) as socket:
        format_ = {"format": {"type": "audio/pcm", "rate": SAMPLE_RATE}}
        await socket.send(json.dumps({"type": "session.update", "session": {"audio": {"input": format_}}}))
        began = time.monotonic()
        hearing = asyncio.create_task(hear(socket, began, outcome))
        step = round(BLOCK_S * SAMPLE_RATE)
        for start in range(0, len(samples), step):
            block = samples[start : start + step]
            # A block exists once it has been said.
            await asyncio.sleep(max(0.0, began + (start + len(block)) / SAMPLE_RATE - time.monotonic()))
            pcm = (np.clip(block, -1, 1) * 32767).astype("<i2").tobytes()
            row = {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}
            await socket.send(json.dumps(row))
        # The last finals are still to come, on a busy machine late.
        said = time.monotonic()
        while len(outcome["finals"]) < turns and time.monotonic() < said + PATIENCE_S and not hearing.done():
            await asyncio.sleep(0.01)
        outcome["caught_up"] = time.monotonic() - said
        hearing.cancel()
    return outcome


async def hear(socket: Any, began: float, outcome: dict[str, Any]) -> None:
    stopped: dict[str, float] = {}
    ended: dict[str, float] = {}
    async for message in socket:
        row, now = json.loads(message), time.monotonic()
        kind = row["type"].rpartition(".")[2]
        if kind == "hypothesis":
            outcome["partials"].append(now - began - row["audio_end_ms"] / 1000)
        elif kind == "speech_stopped":
            stopped[row["item_id"]] = now
            ended[row["item_id"]] = began + row["audio_end_ms"] / 1000
            outcome["stopped"].append(row["item_id"])
        elif kind == "completed":
            outcome["completed"].append(row["item_id"])
            outcome["finals"].append(now - stopped.get(row["item_id"], now))
            outcome["after_speech"].append(now - ended.get(row["item_id"], now))


def upload_until(url: str, path: Path | None, end: float) -> None:
    if path is None:
        return
    head = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nnano\r\n'
    head += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + path.read_bytes() + b"\r\n--x--\r\n"
    while time.monotonic() < end:
        request = Request(
            f"{url}/v1/audio/transcriptions", body, {"content-type": "multipart/form-data; boundary=x"}
        )
        with urlopen(request) as response:
            response.read()


def quantiles(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    return {
        "p50": round(statistics.median(values), 3),
        "p90": round(float(np.percentile(values, 90)), 3),
        "p99": round(float(np.percentile(values, 99)), 3),
    }


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main()
