"""nim4asr beside other recognizers on the same clips, in one run: speed, memory, cold start, errors.

    python benchmarks/peers.py MANIFEST... [--limit N] --peer NAME=PYTHON=MODEL ... [--output DIR]

A peer is one of ``benchmarks/peer.py``, with the interpreter in whose environment it is installed and its
model's folder; English ones hear the English clips alone. Each runs in a process of its own, one thread where
it can be told so. Cold start and memory are those of a whole process that hears one clip, the median of five;
speed is processor seconds a second of sound once it is warm (all clips but the first). Writes ``peers.json``,
with machine and date.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from runtimes import processor, spread

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import Floats
from nim4asr.data.manifest import Utterance, read_manifest
from nim4asr.evaluation.error_rate import ErrorCount
from nim4asr.text.normalization import tokens

CHILD = Path(__file__).parent / "peer.py"
ENGLISH = ("moonshine-tiny", "pocketsphinx")
COLD_STARTS = 5


class Peer(NamedTuple):
    name: str
    python: str
    model: str


class Ran(NamedTuple):
    """A process: its output, wall and processor seconds, and peak memory in MB."""

    output: str
    wall: float
    processor: float
    memory: float


def main() -> None:
    options = arguments()
    own = [Peer(name, sys.executable, options.model or "") for name in ("nim4asr", "nim4asr-8-beams")]
    peers = [*own, *(Peer(*one.split("=", 2)) for one in options.peer)]
    utterances = [
        one
        for path in options.manifests
        for one in spread([u for u in read_manifest(path) if u.split == "dev"], options.limit)
    ]
    row: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": processor(),
        "clips": len(utterances),
        "recognizers": {},
    }
    with tempfile.TemporaryDirectory() as place:
        clips = Path(place)
        said = {
            name: utterance for name, utterance in zip(written(utterances, clips), utterances, strict=True)
        }
        for peer in peers:
            print(f"{time.strftime('%H:%M:%S')} {peer.name}", file=sys.stderr, flush=True)
            row["recognizers"][peer.name] = measured(peer, clips, said)
    for peer in peers:
        print(peer.name, json.dumps(row["recognizers"][peer.name]))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "peers.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=40, help="utterances of each manifest (default: 40)")
    parser.add_argument("--model", help="nim4asr's (default: the bundled one)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON=MODEL")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def written(utterances: list[Utterance], folder: Path) -> list[str]:
    """The clips as WAV files, and their names."""
    names = []
    for number, utterance in enumerate(utterances):
        names.append(f"{utterance.language}-{number:04d}")
        write_wav(read_audio(utterance.source()), folder / f"{names[-1]}.wav")
    return names


def write_wav(samples: Floats, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())


def measured(peer: Peer, clips: Path, said: dict[str, Utterance]) -> dict[str, Any]:
    heard = {name: one for name, one in said.items() if one.language == "en" or peer.name not in ENGLISH}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, name in enumerate(heard):
            (folder / f"{name}.wav").symlink_to(clips / f"{name}.wav")
            if number == 0:
                cold = [ran(peer, folder) for _ in range(COLD_STARTS)]
        whole = ran(peer, folder)
    rows = {row["clip"]: row for row in map(json.loads, whole.output.splitlines())}
    seconds, sound = 0.0, 0.0
    errors: dict[str, ErrorCount] = {}
    for number, name in enumerate(sorted(heard)):
        one = heard[name]
        if number:
            seconds += rows[name]["seconds"]
            sound += len(read_audio(one.source())) / 16_000
        count = ErrorCount.between(tokens(one.text), tokens(rows[name]["text"]))
        errors[one.language] = errors.get(one.language, ErrorCount()) + count
    return {
        "processor_seconds_a_second": round(seconds / sound, 4),
        "cold_start_s": round(statistics.median(one.wall for one in cold), 2),
        "cold_start_processor_s": round(statistics.median(one.processor for one in cold), 2),
        "cold_start_memory_mb": round(statistics.median(one.memory for one in cold)),
        "memory_mb": round(whole.memory),
        **{
            f"{'cer' if language == 'zh' else 'wer'}_{language}": round(count.rate, 4)
            for language, count in errors.items()
            if count.rate is not None
        },
    }


def ran(peer: Peer, folder: Path) -> Ran:
    began = time.perf_counter()
    command = [peer.python, str(CHILD), peer.name, peer.model, str(folder)]
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL) as child,
    ):
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        output.seek(0)
        text = output.read().decode()
    if child.returncode:
        raise SystemExit(f"{peer.name} ended with {child.returncode}; run it by hand: {' '.join(command)}")
    return Ran(text, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


if __name__ == "__main__":
    main()
