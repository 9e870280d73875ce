"""A server that is told to end at any moment, with sessions open: no text may be lost.

    python -m tests.serving.ending --moments 100

Each time ``nim4 serve`` is started, three clients say a sentence each, and once the server has all of it, the
signal comes at a random moment: while it is listened to, recognized or told. Every client must have its text
once before its socket is closed.
"""

import argparse
import base64
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

# However busy the machine is.
PATIENCE_S = 300.0
CLIP, SAID = Path(__file__).parents[1] / "clips/en-1.flac", "what do you want"
SESSIONS = 3
# The signal comes so long after the last sound at most, in seconds.
_LONGEST_S = 0.5


class Command:
    """``nim4 serve`` in a process of its own."""

    def __init__(self, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "nim4asr", "serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        assert self.process.stderr is not None
        self.lines: list[str] = []
        while not (self.lines and "listening at" in self.lines[-1]):
            line = self.process.stderr.readline()
            assert line, self.lines
            self.lines.append(line)
        self.port = int(self.lines[-1].rstrip("/\n").rpartition(":")[2])
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr or ()))
        self._reader.start()

    def __enter__(self) -> "Command":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self) -> int:
        """Wait for its end; the exit status."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


def failures(seed: int) -> list[str]:
    """What goes wrong when the server ends at the moment that ``seed`` says."""
    source = random.Random(seed)
    with Command("--drain", "0") as command:
        spoken = threading.Barrier(SESSIONS + 1)
        texts: list[list[str]] = [[] for _ in range(SESSIONS)]
        threads = [
            threading.Thread(target=_talk, args=(command.port, spoken, texts[n], f"{seed} {n}"))
            for n in range(SESSIONS)
        ]
        for thread in threads:
            thread.start()
        spoken.wait(PATIENCE_S)
        time.sleep(source.random() * _LONGEST_S)
        command.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(PATIENCE_S)
        code = command.end()
    wrong = [f"seed {seed}: {said}" for said in texts if said != [SAID]]
    if code not in (0, -signal.SIGTERM):
        wrong.append(f"seed {seed}: exit status {code}")
    wrong += [line for line in command.lines if "traceback" in line.lower() or '"level": "error"' in line]
    return wrong


def _talk(port: int, spoken: threading.Barrier, texts: list[str], seed: str) -> None:
    """Say the sentence, in turns that the server ends or that nobody does, and collect its texts."""
    source = random.Random(seed)
    samples, rate = soundfile.read(CLIP, dtype="int16")
    pcm, size = samples.tobytes(), source.choice([640, 3200, 20_000])
    turns = source.choice([None, {"type": "server_vad"}])
    with connect(f"ws://127.0.0.1:{port}/v1/realtime", ping_interval=None) as socket:
        sound = {"format": {"type": "audio/pcm", "rate": rate}, "turn_detection": turns}
        _send(socket, "session.update", session={"type": "transcription", "audio": {"input": sound}})
        for start in range(0, len(pcm), size):
            audio = base64.b64encode(pcm[start : start + size]).decode()
            _send(socket, "input_audio_buffer.append", audio=audio)
        _send(socket, "nothing")
        try:
            while True:
                row = json.loads(socket.recv(timeout=PATIENCE_S))
                if row["type"] == "error" and row["error"]["code"] == "unknown_event":
                    # The server has all of it: from here on nothing may be lost.
                    spoken.wait(PATIENCE_S)
                elif row["type"].endswith(".completed"):
                    texts.append(row["transcript"])
        except ConnectionClosed:
            pass


def _send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = 0
    for seed in range(options.seed, options.seed + options.moments):
        for fault in failures(seed):
            print(fault, flush=True)
            wrong += 1
    print(f"{options.moments} moments, {wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
