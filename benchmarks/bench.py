"""Has anything become slower? A small set in two minutes, beside what was committed last.

    python benchmarks/bench.py [--peer NAME=PYTHON=MODEL ...] [--save]

Everything is a ratio within one run, in processor seconds of one thread, so that another machine, or one that
is busy, says nearly the same:

- recognition, with and without hotwords, and live streams: all of it to the time inside onnxruntime, which
  is the network's share and none of ours;
- a cold start of ``nim4 transcribe``, its time and its memory: to a process that imports numpy and
  onnxruntime and no more;
- each ``--peer`` (as for ``benchmarks/peers.py``): nano's default search to it, over the clips of its
  language.

All are measured in turns, so that whatever else the machine does is shared out. A measure is the median of
its runs, its spread the distance of their quartiles. Slower is what grew by more than the wider of its two
spreads, then and now, and by more than 2 %. ``--save`` writes ``benchmarks/bench.json``, to be committed from
a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Before numpy: one thread each.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from peers import ENGLISH, Peer, ran, write_wav  # noqa: E402
from runtimes import processor, tell  # noqa: E402

from nim4asr.audio.reading import read_audio  # noqa: E402
from nim4asr.audio.samples import SAMPLE_RATE, Floats  # noqa: E402
from nim4asr.hotwords.index import HotwordIndex  # noqa: E402
from nim4asr.hotwords.names import Name  # noqa: E402
from nim4asr.model.decoding import DecodingConfig  # noqa: E402
from nim4asr.recognition.configuration import RecognitionConfig  # noqa: E402
from nim4asr.recognition.engine import Engine  # noqa: E402
from nim4asr.recognition.offline import Recognizer  # noqa: E402

ROOT = Path(__file__).parent.parent
LAST = Path(__file__).parent / "bench.json"
# Two of each language.
CLIPS = sorted((ROOT / "demo").glob("*.flac"))[::2]
RUNS = 7
# A change of less is none, however steady a measure is.
LEAST = 0.02
NAMES = 2000
BARE = "import numpy, onnxruntime"
# A small process between this one and what is measured: a peak of memory begins with that of who started it.
LAUNCHER = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
status = child.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000]))
"""


@dataclass(frozen=True)
class Measure:
    """The median of a ratio, its quartiles, and how often it was measured."""

    median: float
    lower: float
    upper: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Measure":
        lower, median, upper = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
        )
        return cls(round(median, 4), round(lower, 4), round(upper, 4), len(values))

    @property
    def spread(self) -> float:
        return self.upper - self.lower


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    now = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": processor(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "measures": {name: asdict(one) for name, one in measured(options).items()},
    }
    last = json.loads(LAST.read_text(encoding="utf-8")) if LAST.exists() else None
    print(report(now, last))
    if options.save:
        LAST.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS, help=f"of each measure (default: {RUNS})")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON=MODEL")
    parser.add_argument("--save", action="store_true", help="write benchmarks/bench.json")
    return parser


def report(now: dict[str, Any], last: dict[str, Any] | None) -> str:
    """Both beside one another, as Markdown, and in words what became slower."""
    head = f"{now['machine']}, {now['date']}, Python {now['python']}, onnxruntime {now['onnxruntime']}"
    lines = [head, "", "| ratio | last | now | spread | change |", "|---|---|---|---|---|"]
    before = {} if last is None else last["measures"]
    slower = []
    for name, row in now["measures"].items():
        one = Measure(**row)
        old = Measure(**before[name]) if name in before else None
        change = "" if old is None else f"{one.median / old.median - 1:+.1%}"
        if old is not None and is_slower(old, one):
            slower.append(f"{name} ({change})")
        was = "" if old is None else f"{old.median:.3f}"
        lines.append(f"| {name} | {was} | {one.median:.3f} | {one.spread:.3f} | {change} |")
    missing = [name for name in before if name not in now["measures"]]
    lines.append("")
    if missing:
        lines.append(f"Not measured now: {', '.join(missing)}.")
    if last is None:
        lines.append("Nothing has been committed that this could be slower than.")
    else:
        if last["machine"] != now["machine"] or last["onnxruntime"] != now["onnxruntime"]:
            was = f"{last['machine']}, onnxruntime {last['onnxruntime']}"
            lines.append(f"The last was measured elsewhere ({was}): take a difference for a hint.")
        lines.append(f"Slower than the last: {', '.join(slower) or 'nothing'}.")
    return "\n".join(lines)


def is_slower(last: Measure, now: Measure) -> bool:
    """Whether ``now`` is worse by more than either spreads, and by enough to speak of."""
    most = max(last.spread, now.spread, LEAST * last.median)
    return now.median - last.median > most


def measured(options: argparse.Namespace) -> dict[str, Measure]:
    """All measures, run after run."""
    clips = [read_audio(clip) for clip in CLIPS]
    measures = ours(clips)
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place:
        wavs = Path(place)
        for number, (path, samples) in enumerate(zip(CLIPS, clips, strict=True)):
            write_wav(samples, wavs / f"{path.stem.partition('-')[0]}-{number:04d}.wav")
        peers = [Peer(*one.split("=", 2)) for one in options.peer]
        for turn in range(options.runs):
            tell(f"run {turn + 1} of {options.runs}")
            for name, measure in measures.items():
                found.setdefault(name, []).append(measure())
            for name, value in cold_start().items():
                found.setdefault(name, []).append(value)
            for peer in peers:
                found.setdefault(f"to {peer.name}", []).append(to_peer(peer, wavs))
    return {name: Measure.of(values) for name, values in found.items()}


def ours(clips: Sequence[Floats]) -> dict[str, Callable[[], float]]:
    """What is measured in this process, warm."""
    base = Recognizer.load(runtime="onnx", threads=1)
    greedy = Recognizer(base.model, RecognitionConfig(decoding=DecodingConfig()))
    index = HotwordIndex()
    index.add(map(Name, names()))

    def recordings(recognizer: Recognizer, hotwords: HotwordIndex | None = None) -> Callable[[], None]:
        def hear() -> None:
            for clip in clips:
                recognizer.transcribe(clip, sample_rate=SAMPLE_RATE, hotwords=hotwords)

        return hear

    work = {
        "recordings, greedy": recordings(greedy),
        "recordings": recordings(base),
        f"recordings, {NAMES} hotwords": recordings(base, index),
        "live, 1 stream": lambda: live(base, clips, 1),
        "live, 8 streams": lambda: live(base, clips, 8),
    }
    for hear in work.values():
        hear()
    return {name: lambda hear=hear: to_onnxruntime(hear) for name, hear in work.items()}


def names() -> list[str]:
    """Phrases of pypinyin's dictionary, always the same."""
    from pypinyin.constants import PHRASES_DICT

    phrases = sorted(phrase for phrase in PHRASES_DICT if 3 <= len(phrase) <= 4)
    return phrases[:: len(phrases) // NAMES][:NAMES]


def live(recognizer: Recognizer, clips: Sequence[Floats], count: int) -> None:
    """So many streams at once, each with the clips in an order of its own, in blocks of 100 ms."""
    engine, block = Engine(recognizer.model), SAMPLE_RATE // 10
    handles = [engine.open() for _ in range(count)]
    sounds = [
        np.concatenate([*clips[place % len(clips) :], *clips[: place % len(clips)]]) for place in range(count)
    ]
    for start in range(0, len(sounds[0]), block):
        for handle, sound in zip(handles, sounds, strict=True):
            handle.feed(sound[start : start + block])
        while any(handle.busy for handle in handles):
            engine.step()
    for handle in handles:
        handle.finish()
    while any(handle.busy for handle in handles):
        engine.step()


def to_onnxruntime(work: Callable[[], None]) -> float:
    """The processor seconds of ``work`` to those inside onnxruntime."""
    with inside_onnxruntime() as inside:
        began = time.process_time()
        work()
        taken = time.process_time() - began
    return taken / sum(inside)


@contextmanager
def inside_onnxruntime() -> Iterator[list[float]]:
    """The processor seconds of each call of a session, while this is open."""
    taken: list[float] = []
    plain = onnxruntime.InferenceSession.run

    def run(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return plain(*arguments, **named)
        finally:
            taken.append(time.process_time() - began)

    onnxruntime.InferenceSession.run = run
    try:
        yield taken
    finally:
        onnxruntime.InferenceSession.run = plain


def cold_start() -> dict[str, float]:
    """Time and memory of a whole process that hears one clip, to one that only imports what it must."""
    heard = process([sys.executable, "-m", "nim4asr", "transcribe", "--runtime", "onnx", str(CLIPS[0])])
    bare = process([sys.executable, "-c", BARE])
    return {"cold start, time": heard[0] / bare[0], "cold start, memory": heard[1] / bare[1]}


def process(command: Sequence[str]) -> tuple[float, float]:
    """The processor seconds and the peak memory, in MB, of a command."""
    launched = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command], capture_output=True, check=True
    )
    status, seconds, memory = json.loads(launched.stdout)
    if status:
        raise SystemExit(f"this ended with {status}: {' '.join(command)}")
    return float(seconds), float(memory)


def to_peer(peer: Peer, wavs: Path) -> float:
    """Processor seconds of nano's default search to a peer's, both warm: all clips but the first."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for path in wavs.glob("en-*.wav" if peer.name in ENGLISH else "*.wav"):
            (folder / path.name).symlink_to(path)
        taken = [
            sum(json.loads(line)["seconds"] for line in ran(one, folder).output.splitlines()[1:])
            for one in (Peer("nim4asr-8-beams", sys.executable, ""), peer)
        ]
    return taken[0] / taken[1]


if __name__ == "__main__":
    sys.exit(main())
