"""torch beside onnxruntime, with the same weights, in one run: start, memory, work, streams held.

    python benchmarks/runtimes.py MANIFEST... [--limit N] [--output DIR]

Cold start and peak memory are those of ``nim4 transcribe`` on one clip, as a whole process, the median of
seven, in turns. Work is processor seconds a second of sound, of recordings and of 1, 8 and 32 live streams;
streams are held while an engine on one core computes no longer than they last, by one process, and by two at
a time. Each runtime runs in a process of its own with one thread. Writes ``runtimes.json``, with machine and
date.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import VoiceActivityConfig, cut_speech
from nim4asr.data.manifest import read_manifest
from nim4asr.model.decoding import DecodingConfig
from nim4asr.recognition.configuration import RecognitionConfig, StreamingConfig
from nim4asr.recognition.engine import Engine
from nim4asr.recognition.offline import Recognizer

RUNTIMES = ("torch", "onnx")
STREAMS = (1, 8, 32)
SECONDS = 12
COLD_STARTS = 7
CLIP = Path(__file__).parent.parent / "tests/clips/en-1.flac"


def main() -> None:
    options = arguments()
    if options.child:
        measured = {"work": work, "held": held}[options.child]
        print(json.dumps(measured(options)))
        return
    row: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": processor(),
        "cold_start": cold_starts(),
    }
    for runtime in RUNTIMES:
        tell(f"{runtime}: work")
        row[runtime] = json.loads(children(options, runtime, "work", 1)[0])
        tell(f"{runtime}: streams held")
        for count, name in ((1, "streams_held"), (2, "streams_held_by_each_of_two")):
            found = [json.loads(one) for one in children(options, runtime, "held", count)]
            row[runtime][name] = [one["held"] for one in found]
    print(json.dumps(row, indent=1))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "runtimes.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=20, help="utterances of each manifest (default: 20)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--child", choices=("work", "held"), help=argparse.SUPPRESS)
    parser.add_argument("--runtime", choices=RUNTIMES, help=argparse.SUPPRESS)
    return parser.parse_args()


def tell(phase: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {phase}", file=sys.stderr, flush=True)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {len(names)} cores"


def cold_starts() -> dict[str, dict[str, float]]:
    """Wall and processor seconds and peak memory (MB) of transcribing one clip."""
    taken: dict[str, list[tuple[float, float, float]]] = {runtime: [] for runtime in RUNTIMES}
    for _ in range(COLD_STARTS):
        for runtime in RUNTIMES:
            began = time.perf_counter()
            command = [sys.executable, "-m", "nim4asr", "transcribe", str(CLIP), "--runtime", runtime]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            assert child.returncode == 0
            wall = time.perf_counter() - began
            taken[runtime].append((wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000))
    names = ("wall_s", "processor_s", "memory_mb")
    return {
        runtime: {
            name: round(statistics.median(values), 2)
            for name, values in zip(names, zip(*rows, strict=True), strict=True)
        }
        for runtime, rows in taken.items()
    }


def children(options: argparse.Namespace, runtime: str, what: str, count: int) -> list[str]:
    """What ``count`` processes at a time print."""
    command = [sys.executable, __file__, *map(str, options.manifests), "--limit", str(options.limit)]
    command += ["--child", what, "--runtime", runtime]
    with tempfile.TemporaryDirectory() as place:
        outputs = [Path(place) / str(number) for number in range(count)]
        started = []
        for path in outputs:
            with path.open("w") as file:
                started.append(subprocess.Popen(command, stdout=file))
        if any(child.wait() for child in started):
            raise SystemExit(f"{runtime}: a measurement failed")
        return [path.read_text() for path in outputs]


def recordings(options: argparse.Namespace) -> list[Floats]:
    found = []
    for path in options.manifests:
        utterances = [one for one in read_manifest(path) if one.split == "dev"]
        found += [read_audio(one.source()) for one in spread(utterances, options.limit)]
    return found


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly."""
    return list(items[:: max(1, len(items) // most)])[:most]


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds a second of sound."""
    clips = recordings(options)
    sound = sum(map(len, clips)) / SAMPLE_RATE
    row: dict[str, Any] = {}
    base = Recognizer.load(runtime=options.runtime, threads=1)
    for beams in (1, 8):
        config = RecognitionConfig(decoding=DecodingConfig(beam_size=beams))
        recognizer = Recognizer(base.model, config)
        recognizer.transcribe(clips[0], sample_rate=SAMPLE_RATE)
        taken = []
        for _ in range(3):
            began = time.process_time()
            for clip in clips:
                recognizer.transcribe(clip, sample_rate=SAMPLE_RATE)
            taken.append((time.process_time() - began) / sound)
        row["recordings" if beams == 1 else f"recordings_{beams}_beams"] = round(statistics.median(taken), 4)
    continuous = without_pauses(clips, 60.0)
    row["live"] = {
        str(count): round(statistics.median(live(base, continuous, count)[0] for _ in range(3)) / count, 4)
        for count in STREAMS
    }
    return row


def held(options: argparse.Namespace) -> dict[str, Any]:
    """How many streams one engine holds in real time."""
    base = Recognizer.load(runtime=options.runtime, threads=1)
    continuous = without_pauses(recordings(options), 60.0)
    live(base, continuous, 1)
    loads: dict[int, float] = {}
    count = 4
    while not loads or loads[max(loads)] < 1:
        loads[count] = statistics.median(live(base, continuous, count)[1] for _ in range(3))
        count = count * 3 // 2
    counts = sorted(loads)
    return {"held": int(np.interp(1.0, [loads[count] for count in counts], counts)), "loads": loads}


def without_pauses(clips: Sequence[Floats], seconds: float) -> Floats:
    """Speech without a break, repeated if there is less."""
    tight = VoiceActivityConfig(min_silence_s=0.1, speech_pad_s=0.0)
    parts = [segment.samples for segment in cut_speech(clips, tight)]
    return np.resize(np.concatenate(parts), round(seconds * SAMPLE_RATE))


def live(recognizer: Recognizer, samples: Floats, count: int) -> tuple[float, float]:
    """Processor and wall seconds of ``count`` streams of speech without pauses, a second of sound."""
    config = StreamingConfig(voice_activity=VoiceActivityConfig(min_silence_s=5.0))
    engine = Engine(recognizer.model)
    handles = [engine.open(config) for _ in range(count)]
    processor, wall = time.process_time(), time.perf_counter()
    for frame in range(SECONDS * 10):
        for place, handle in enumerate(handles):
            # Different sound for each, and no two at the same place of a chunk.
            start = (place * 7919 + frame * 1600) % (len(samples) - 1600)
            handle.feed(samples[start : start + 1600])
        while any(handle.busy for handle in handles):
            engine.step()
    return (time.process_time() - processor) / SECONDS, (time.perf_counter() - wall) / SECONDS


if __name__ == "__main__":
    main()
