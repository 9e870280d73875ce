"""The 2.3 B shape on a GPU: how fast, how many streams, how much memory; by torch, and by vLLM where it is.

    python benchmarks/gpu.py [--vllm-python PYTHON] [--limit SECONDS] [--output FILE]
    python benchmarks/gpu.py --table FILE

One command of at most ``--limit`` seconds (480). It needs torch, transformers and what these bring, and of
nim4asr its source alone, installed or not; docs/gpu.md says how to run it, also where there is no network.
Weights are random, sound is random features and the text is set, 3.5 words a second: neither speed nor memory
depends on what is heard. The front end, which runs on the processor in threads of its own, is left out.

Each runtime is a process of its own with a limit of its own, each section in it too; every row is written to
``--output`` as soon as it is known, so that whatever happens to the rest, what was measured is there. Written
are the machine, the date, and of each runtime:

- ``steps``: the encoder on a chunk of each of n streams, the language model on a token of each;
- ``encoder``: a whole segment;
- ``recordings``: n segments of 10 s at once, from features to text;
- ``live``: n streams that speak and pause, with partial text or with finals alone. Sound comes by the clock,
  computing takes the time it takes, waiting takes none. Delays are those of a partial after its chunk, of the
  first one after its segment's begin, and of a final after its endpoint; ``load`` is computing seconds a
  second, and tokens are counted by the second of computing.
- ``generate``: what vLLM writes by itself, n texts at once, without our engine between two tokens.
"""

import argparse
import gc
import heapq
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
if find_spec("nim4asr") is None:
    sys.path.insert(0, str(SOURCE))

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from nim4asr.model.configuration import Nim4Config
    from nim4asr.recognition.configuration import StreamingConfig
    from nim4asr.recognition.engine import Engine, StreamHandle
    from nim4asr.recognition.events import Event
    from nim4asr.recognition.frontend import Task
    from nim4asr.runtime.network import Model

LIMIT_S = 480.0
# Of the whole, where vLLM is measured too.
TORCH_SHARE = 0.5
# Words that nano's tokenizer writes as one token each; the text is made of them.
WORDS_PER_SECOND = 3.5
# Beyond any logit.
CERTAIN = 1000.0
# vLLM leaves so much of the device to torch.
RESERVE_BYTES = 3 * 2**30
# How long people speak without a pause, in turns, and how long they pause.
SPEECH_S, PAUSE_S = (2.0, 6.0, 3.5, 12.0, 4.5), 1.0
# Later finals than this end the search for how many streams are held; those that are held have finals, all
# but one in twenty, in the other.
LATE_S, HELD_S = 1.0, 0.3
ABSENT = "not installed"
# Positions before the token whose time is taken: prompt, and about 35 s of speech.
CONTEXT = 250


@dataclass(frozen=True)
class Sizes:
    """How much is measured: streams, segments at once, seconds of a live stream, and repetitions."""

    streams: tuple[int, ...] = (1, 8, 32, 64, 128, 256)
    segments: tuple[int, ...] = (1, 8, 32, 128)
    segment_s: float = 10.0
    live_s: float = 20.0
    repeats: int = 7


TOY = Sizes(streams=(1, 3), segments=(1, 3), segment_s=2.0, live_s=4.0, repeats=3)


class OutOfTime(BaseException):
    """A section has reached its limit. No ``Exception``, for the engine takes those for a stream's own."""


# The parent: it imports no torch, starts a process a runtime, and keeps what they say.


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return 0
    if options.child:
        child(options)
        return 0
    return parent(options)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vllm-python", help="the Python of an environment with vLLM (default: this one's)")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help=f"seconds (default: {LIMIT_S:g})")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true", help="a toy shape, to try this script")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/gpu.json")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of a file, and no more")
    parser.add_argument("--child", choices=("torch", "vllm"), help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser


def parent(options: argparse.Namespace) -> int:
    end = time.monotonic() + options.limit
    row: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "shape": "toy" if options.toy else "nim4-2.3b, random weights",
        "limit_s": options.limit,
        "runtimes": {},
    }
    # So that what it started ends with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    options.vllm_python = options.vllm_python or (sys.executable if find_spec("vllm") else None)
    for runtime in ("torch", "vllm") if options.vllm_python else ("torch",):
        left = end - time.monotonic()
        limit = left * TORCH_SHARE if runtime == "torch" and options.vllm_python else left
        row["runtimes"][runtime] = kept = {"sections": {}}
        write(row, options.output)
        for said in run(command(options, runtime, limit), limit):
            keep(row, kept, said)
            write(row, options.output)
    if not options.vllm_python:
        row["runtimes"]["vllm"] = {"ended": ABSENT, "sections": {}}
        write(row, options.output)
    print(table(row))
    print(f"\n{options.output}")
    return 0 if all(map(done, row["runtimes"].values())) else 1


def command(options: argparse.Namespace, runtime: str, limit: float) -> list[str]:
    # A little sooner than the parent would end it, so that it can say how far it came.
    own = max(1.0, limit - 5.0) if limit > 20 else limit
    made = [sys.executable, __file__, "--child", runtime, "--limit", f"{own:.1f}", "--device", options.device]
    made += ["--vllm-python", options.vllm_python] if options.vllm_python else []
    made += ["--worker", str(options.worker)] if options.worker else []
    return made + ["--toy"] * options.toy


def run(command: Sequence[str], limit: float) -> Iterator[dict[str, Any]]:
    """What a process says, a row of JSON a line; it is ended after ``limit`` seconds, with all it started."""
    # A group of its own: vLLM's process must not outlive it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        timed_out = threading.Event()

        def end() -> None:
            timed_out.set()
            _end_group(process)

        timer = threading.Timer(limit, end)
        timer.daemon = True
        timer.start()
        try:
            for line in process.stdout:
                try:
                    said = json.loads(line)
                except ValueError:
                    # Some library's own words.
                    print(line, end="", file=sys.stderr)
                    continue
                yield said
            status = process.wait()
        finally:
            timer.cancel()
            _end_group(process)
    if timed_out.is_set():
        yield {"ended": f"at its limit of {limit:.0f} s"}
    elif status:
        yield {"ended": f"with status {status}"}
    else:
        yield {"ended": "whole"}


def _end_group(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def keep(row: dict[str, Any], kept: dict[str, Any], said: dict[str, Any]) -> None:
    """Put what a process said where it belongs."""
    if "machine" in said:
        row["machine"] |= said["machine"]
    elif "ended" in said:
        # What it said itself is more than how its process ended.
        kept.setdefault("ended", said["ended"])
    elif "section" in said:
        section = kept["sections"].setdefault(said["section"], {"rows": []})
        if "row" in said:
            section["rows"].append(said["row"])
        else:
            section["ended"] = said["end"]
    else:
        kept |= said


def done(runtime: dict[str, Any]) -> bool:
    """Whether it is not there at all, or nothing failed and something was measured."""
    sections = runtime["sections"].values()
    ends = [section.get("ended", "cut off") for section in sections]
    found = any(section["rows"] for section in sections) and not any("failed" in end for end in ends)
    return runtime["ended"] == ABSENT or (runtime["ended"] == "whole" and found)


def write(row: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(row: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    machine = ", ".join(f"{name} {value}" for name, value in row["machine"].items())
    lines = [f"{row['shape']}; {row['date']}; {machine}"]
    for runtime, kept in row["runtimes"].items():
        facts = [f"{name} {kept[name]}" for name in kept if name not in ("sections", "ended")]
        lines += ["", f"{runtime}: {'; '.join([*facts, 'ended ' + kept.get('ended', 'unknown')])}"]
        for name, section in kept["sections"].items():
            lines += ["", f"{name}: {section.get('ended', 'cut off')}{held(section['rows'])}"]
            if section["rows"]:
                columns = list(dict.fromkeys(key for one in section["rows"] for key in one))
                lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
                for one in section["rows"]:
                    lines.append(f"| {' | '.join(shown(one.get(column)) for column in columns)} |")
    return "\n".join(lines)


def held(rows: Sequence[dict[str, Any]]) -> str:
    """The most live streams whose finals come in time, in words."""
    loads = [row for row in rows if "load" in row]
    fine = [row["streams"] for row in loads if row["load"] < 1 and (row["final_p95_s"] or 0) < HELD_S]
    return f"; {max(fine, default=0)} streams held, finals p95 under {HELD_S:g} s" if loads else ""


def shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# The child: one runtime, section by section.


def child(options: argparse.Namespace) -> None:
    end = time.monotonic() + options.limit
    sizes = TOY if options.toy else Sizes()
    began = time.monotonic()
    if not is_there(options.device):
        say({"ended": f"torch sees no device {options.device!r} here"})
        return
    model = torch_model(options)
    close: Callable[[], None] = lambda: None  # noqa: E731
    if options.child == "vllm":
        model, close = vllm_model(options, model)
    say({"machine": machine(options.device)})
    ready_s = round(time.monotonic() - began, 1)
    say({"versions": versions(options), "ready_s": ready_s, **memory(options.device)})
    # A section's share of what is left when it begins.
    sections: list[tuple[str, float, Callable[[], Iterator[dict[str, Any]]]]] = [
        ("steps", 0.2, lambda: steps(model, sizes)),
        ("encoder", 0.1, lambda: encoder(model, sizes)),
        ("recordings", 0.3, lambda: recordings(model, sizes, 1)),
        ("live", 0.55, lambda: live(model, sizes, "refresh")),
        ("live, finals alone", 0.6, lambda: live(model, sizes, "final")),
        ("recordings, 4 beams", 1.0, lambda: recordings(model, sizes, 4)),
    ]
    if options.child == "vllm":
        sections.insert(0, ("generate", 0.2, lambda: generate(model, sizes)))
    for name, share, measure in sections:
        section(name, measure, max(0.0, end - time.monotonic()) * share, options.device)
    close()


def is_there(device: str) -> bool:
    import torch

    try:
        # Asking for a value tells of devices that hold none.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        return False
    return True


def section(name: str, measure: Callable[[], Iterator[dict[str, Any]]], limit: float, device: str) -> None:
    """Say what ``measure`` finds, row by row, for ``limit`` seconds; an error ends this section alone."""
    print(f"{time.strftime('%H:%M:%S')} {name}, {limit:.0f} s", file=sys.stderr, flush=True)
    ended = "whole"
    try:
        with LIMIT.of(limit):
            for row in measure():
                say({"section": name, "row": row | memory(device)})
    except OutOfTime:
        ended = f"stopped at its limit of {limit:.0f} s"
    except Exception as error:  # Whatever it is: the others are still measured.
        ended = f"failed: {type(error).__name__}: {str(error)[:200]}"
    say({"section": name, "end": ended})
    forget(device)


class Limit:
    """What ends a section in time, but never between a question to vLLM and its answer, which would be taken
    for the next one's.
    """

    def __init__(self) -> None:
        self._asking = self._reached = False

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        """Raise ``OutOfTime`` in the main thread after ``seconds``."""
        before = signal.signal(signal.SIGALRM, self._reach)
        # Of nothing, setitimer would make no limit at all.
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            self._reached = False

    def waiting_for(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        """``ask``, which ends before the section does."""

        def asked(*arguments: Any) -> Any:
            self._asking = True
            try:
                answer = ask(*arguments)
            finally:
                self._asking = False
            if self._reached:
                raise OutOfTime
            return answer

        return asked

    def _reach(self, number: int, frame: object) -> None:
        self._reached = True
        if not self._asking:
            raise OutOfTime


LIMIT = Limit()


def say(row: dict[str, Any]) -> None:
    print(json.dumps(row, ensure_ascii=False), flush=True)


def machine(device: str) -> dict[str, Any]:
    import torch

    if torch.device(device).type != "cuda":
        return {"gpu": None, "torch_threads": torch.get_num_threads()}
    found = torch.cuda.get_device_properties(device)
    row = {"gpu": found.name, "gpu_gb": round(found.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    with suppress(OSError, subprocess.TimeoutExpired):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout
        row["driver"] = told.partition("\n")[0]
    return row


def versions(options: argparse.Namespace) -> dict[str, str]:
    found = {}
    for name in ("torch", "transformers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if options.child == "vllm" and options.worker is None:
        asked = [options.vllm_python, "-c", "import importlib.metadata as m; print(m.version('vllm'))"]
        found["vllm"] = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.strip()
    return found


def memory(device: str) -> dict[str, float]:
    """What the device has in use, whoever uses it, and what torch held at most since it was last asked."""
    import torch

    if torch.device(device).type != "cuda":
        import resource

        return {"memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)}
    free, total = torch.cuda.mem_get_info(device)
    peak = torch.cuda.max_memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    return {"memory_gb": round((total - free) / 1e9, 2), "torch_peak_gb": round(peak / 1e9, 2)}


def forget(device: str) -> None:
    """Give back what the last section held, also after an error."""
    import torch

    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


# The network: of its size, saying what it is told to.


def toy_shape() -> "Nim4Config":
    from nim4asr.model.configuration import Nim4Config
    from nim4asr.model.shapes import AdaptorConfig, ConformerConfig, PhonemeHeadConfig

    return Nim4Config(
        name="toy",
        encoder=ConformerConfig(model_dim=16, blocks=2, heads=2, kernel_size=7, subsampling_channels=4),
        adaptor=AdaptorConfig(encoder_dim=16, llm_dim=32),
        phoneme_head=PhonemeHeadConfig(encoder_dim=16, hidden_dim=16),
        llm={
            "model_type": "qwen3",
            "vocab_size": 7000,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
        },
    )


def torch_model(options: argparse.Namespace) -> "Model":
    import torch

    from nim4asr.acoustics.normalization import Cmvn
    from nim4asr.model.folder import ModelFolder, bundled
    from nim4asr.model.nim4 import Nim4
    from nim4asr.recipes import model_configuration
    from nim4asr.runtime.network import Model
    from nim4asr.runtime.torch_network import TorchCache, TorchNetwork

    torch.manual_seed(0)
    config = toy_shape() if options.toy else model_configuration("nim4-2.3b")
    with torch.device(options.device):
        network = Nim4(config)
    network = network.to(options.device, torch.bfloat16).eval()
    forget(options.device)
    tokenizer = ModelFolder.open(bundled()).tokenizer
    script = Script.of(tokenizer)

    class ScriptedCache(TorchCache):
        def extend(self, slots: Sequence[int], embeddings: "Sequence[Tensor]") -> "Tensor":
            logits = super().extend(slots, embeddings)
            said = script.after([self.lengths[slot] for slot in slots])
            logits[:, script.size :] -= CERTAIN
            rows = torch.arange(len(slots), device=logits.device)
            logits[rows, torch.tensor(said, device=logits.device)] += CERTAIN
            return logits

    class ScriptedNetwork(TorchNetwork):
        def open_cache(self) -> TorchCache:
            return ScriptedCache(self.network.llm)

    return Model(ScriptedNetwork(network), Cmvn.neutral(config.features.bins), tokenizer)


@dataclass(frozen=True)
class Script:
    """Which word follows what a slot holds, by how much that is: ``words`` are tokens, ``size`` is how many
    the tokenizer knows.
    """

    words: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, tokenizer: Any) -> "Script":
        """Whole English words that are a token each: their sounds are in a dictionary that is bundled."""
        found = []
        for token in range(len(tokenizer)):
            text = tokenizer.decode([*tokenizer.encode("a"), token])
            word = text[2:] if text.startswith("a ") else ""
            if word.isascii() and word.isalpha() and word.islower() and len(word) > 2:
                found.append(token)
        return cls(tuple(found), len(tokenizer))

    def after(self, lengths: Sequence[int]) -> list[int]:
        return [self.words[length % len(self.words)] for length in lengths]


def vllm_model(options: argparse.Namespace, model: "Model") -> "tuple[Model, Callable[[], None]]":
    import torch

    from nim4asr.audio.samples import Floats
    from nim4asr.model.checkpoint import Checkpoint
    from nim4asr.runtime.network import Model
    from nim4asr.runtime.torch_network import TorchNetwork
    from nim4asr.runtime.vllm_network import VllmNetwork, VllmOptions

    script = Script.of(model.tokenizer)

    class ScriptedVllm(VllmNetwork):
        def next_log_probs(self, prompts: Sequence[Floats]) -> Floats:
            found = super().next_log_probs(prompts)
            found -= CERTAIN
            found[range(len(prompts)), script.after([len(prompt) for prompt in prompts])] = 0.0
            return found

    share = 0.8
    if torch.device(options.device).type == "cuda":
        free, total = torch.cuda.mem_get_info(options.device)
        share = max(0.05, min(0.8, (free - RESERVE_BYTES) / total))
    chosen = VllmOptions(options.vllm_python, longest=2048, memory_share=round(share, 3))
    if options.worker is not None:
        chosen = replace(chosen, worker=options.worker)
    assert isinstance(model.network, TorchNetwork)
    checkpoint = Checkpoint(model.network.network, model.normalization, model.tokenizer)
    network = ScriptedVllm(checkpoint, chosen)
    network._process.ask = LIMIT.waiting_for(network._process.ask)  # type: ignore[method-assign]
    return Model(network, model.normalization, model.tokenizer), network.close


# What is measured.


def steps(model: "Model", sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A call of each kind for n streams at once."""
    import numpy as np

    from nim4asr.model.shapes import ChunkScheme
    from nim4asr.runtime.network import ChunkInput

    random = np.random.default_rng(0)
    network, clock, chunks = model.network, model.frontend.clock, ChunkScheme()
    width = network.embed([0]).shape[1]
    for count in sizes.streams:
        inputs = [
            ChunkInput(
                features(random, clock.window(chunks.size), model), chunks.size, network.initial_state(chunks)
            )
            for _ in range(count)
        ]
        encoding = median_seconds(lambda some=inputs: network.encode_chunks(some), sizes.repeats)
        cache = network.open_cache()
        slots = [cache.allocate() for _ in range(count)]
        held = random.standard_normal((count, CONTEXT, width)).astype(np.float32) * 0.02
        reading = median_seconds(lambda c=cache, s=slots, h=held: c.append(s, list(h)), 1)
        token = list(network.embed([7] * count)[:, None])
        writing = median_seconds(lambda c=cache, s=slots, t=token: c.append(s, t), sizes.repeats)
        yield {
            "streams": count,
            "encoder_chunk_ms": ms(encoding),
            f"read_{CONTEXT}_ms": ms(reading),
            "token_ms": ms(writing),
            "tokens_per_s": round(count / writing),
        }


def encoder(model: "Model", sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A whole segment."""
    import numpy as np

    random = np.random.default_rng(0)
    for seconds in (sizes.segment_s, 30.0):
        whole = features(random, round(seconds * model.frontend.clock.feature_hz), model)
        taken = median_seconds(lambda one=whole: model.network.encode([one], None), sizes.repeats)
        yield {"segment_s": seconds, "ms": ms(taken), "real_time_factor": taken / seconds}


def recordings(model: "Model", sizes: Sizes, beams: int) -> Iterator[dict[str, Any]]:
    """So many segments at once, from features to text."""
    import numpy as np

    from nim4asr.recognition.configuration import RecognitionConfig
    from nim4asr.recognition.engine import Engine
    from nim4asr.recognition.events import Final
    from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd, SpeechStart
    from nim4asr.recognition.hinting import HintPolicy

    random = np.random.default_rng(0)
    clock, config = model.frontend.clock, RecognitionConfig(decoding=decoding(beams))
    chunk = FeatureChunk(
        whole := features(random, round(sizes.segment_s * clock.feature_hz), model),
        clock.output_length(len(whole)),
        last=True,
    )
    start, end = SpeechStart(0.0), SpeechEnd(sizes.segment_s, reason())
    engine = Engine(model)
    for count in sizes.segments:
        # The first time makes ready what is made once, memory of this size among it.
        for again in (False, True):
            finals, before = 0, engine.stats.written_tokens
            began = time.perf_counter()
            handles = engine.open_batch(config, HintPolicy(), [(start, chunk, end)] * count)
            while any(handle.busy for handle in handles):
                finals += sum(isinstance(event, Final) for _, event in turn(engine))
            taken = time.perf_counter() - began
            if again:
                yield {
                    "segments_at_once": count,
                    "segment_s": sizes.segment_s,
                    "texts": finals,
                    "seconds": taken,
                    "real_time_factor": taken / (count * sizes.segment_s),
                    "tokens_per_s": round((engine.stats.written_tokens - before) / taken),
                }


def turn(engine: "Engine") -> "list[tuple[StreamHandle, Event]]":
    """A step of the engine; raises the error of a stream that failed."""
    from nim4asr.recognition.events import Failed

    found = [(stream, event) for stream, events in engine.step().items() for event in events]
    for _, event in found:
        if isinstance(event, Failed):
            raise event.error
    return found


def live(model: "Model", sizes: Sizes, mode: str) -> Iterator[dict[str, Any]]:
    """So many live streams at once; more and more, until finals are late."""
    from nim4asr.recognition.configuration import StreamingConfig
    from nim4asr.recognition.engine import Engine

    config = StreamingConfig(mode=mode, decoding=decoding(1))  # type: ignore[arg-type]
    # One engine for all, so that what it makes once is there.
    engine = Engine(model)
    speak(engine, config, 1, 3.0)
    for count in sizes.streams:
        found = speak(engine, config, count, sizes.live_s)
        yield {"streams": count, **found}
        if found["load"] > 1.5 or (found["final_p95_s"] or 0) > LATE_S:
            return


def speak(engine: "Engine", config: "StreamingConfig", count: int, seconds: float) -> dict[str, Any]:
    """The delays of ``count`` streams that speak for ``seconds`` each."""
    from nim4asr.recognition.events import Final, Partial, SpeechStarted
    from nim4asr.recognition.frontend import SpeechEnd

    handles = [open_stream(engine, config) for _ in range(count)]
    coming = [
        (due, place, number, task)
        for place in range(count)
        for number, (due, task) in enumerate(conversation(engine.model, config, place, seconds))
    ]
    sound = max(due for due, *_ in coming)
    heapq.heapify(coming)
    endpoints: dict[StreamHandle, deque[float]] = {handle: deque() for handle in handles}
    begun: dict[StreamHandle, float] = {}
    first: list[float] = []
    partials: list[float] = []
    finals: list[float] = []
    now = computing = 0.0
    before = engine.stats.written_tokens
    while (waiting := any(handle.busy for handle in handles)) or coming:
        if not waiting:
            # The clock goes on to the next sound.
            now = max(now, coming[0][0])
        while coming and coming[0][0] <= now:
            due, place, _, task = heapq.heappop(coming)
            handles[place].add([task])
            if isinstance(task, SpeechEnd):
                endpoints[handles[place]].append(due)
        began = time.perf_counter()
        found = turn(engine)
        taken = time.perf_counter() - began
        now, computing = now + taken, computing + taken
        for stream, event in found:
            if isinstance(event, SpeechStarted):
                begun[stream] = event.time
            elif isinstance(event, Partial):
                # Its time is that of the last sound in it.
                partials.append(now - event.time)
                if stream in begun:
                    first.append(now - begun.pop(stream))
            elif isinstance(event, Final):
                finals.append(now - endpoints[stream].popleft())
                begun.pop(stream, None)
    for handle in handles:
        engine.drop(handle)
    return {
        "final_p50_s": quantile(finals, 50),
        "final_p95_s": quantile(finals, 95),
        "partial_p50_s": quantile(partials, 50),
        "partial_p95_s": quantile(partials, 95),
        "first_partial_p50_s": quantile(first, 50),
        "load": computing / sound,
        "real_time_factor": computing / (sound * count),
        "tokens_per_s": round((engine.stats.written_tokens - before) / computing),
        "finals": len(finals),
    }


def open_stream(engine: "Engine", config: "StreamingConfig") -> "StreamHandle":
    """A stream whose front end is elsewhere: here are neither samples nor what hears voices in them."""
    from nim4asr.recognition import engine as module

    class Elsewhere:
        def __init__(self, *_: Any) -> None:
            pass

    before = module.StreamFrontend
    module.StreamFrontend = Elsewhere  # type: ignore[misc, assignment]
    try:
        return engine.open(config)
    finally:
        module.StreamFrontend = before  # type: ignore[misc]


def conversation(
    model: "Model", config: "StreamingConfig", place: int, seconds: float
) -> "Iterator[tuple[float, Task]]":
    """The tasks of one stream, and when each is there. No two streams begin and pause together."""
    import numpy as np

    from nim4asr.recognition.frontend import FeatureChunk, SpeechEnd, SpeechStart

    random = np.random.default_rng(place)
    clock = model.frontend.clock
    assert model.config.adaptor is not None
    size = config.chunks(model.config.adaptor.stack, clock.frame_s).size
    chunk_s = size * clock.frame_s
    now = float(random.uniform(0, 3.0))
    turns = cycle(SPEECH_S[place % len(SPEECH_S) :] + SPEECH_S[: place % len(SPEECH_S)])
    while now < seconds:
        spoken = min(next(turns), seconds - now)
        yield now, SpeechStart(now)
        chunks = max(1, round(spoken / chunk_s))
        for number in range(chunks):
            heard = features(random, clock.window(size), model)
            last = number == chunks - 1
            yield now + (number + 1) * chunk_s, FeatureChunk(heard, size, last=last)
        now += chunks * chunk_s
        yield now, SpeechEnd(now, reason())
        now += PAUSE_S


def generate(model: "Model", sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Texts by vLLM alone: so many texts of 36 tokens at once."""
    import numpy as np
    import torch

    from nim4asr.runtime.vllm_network import VllmNetwork

    assert isinstance(model.network, VllmNetwork)
    width, tokens = model.network.embed([0]).shape[1], 36
    random = np.random.default_rng(0)
    for count in (sizes.streams[0], *sizes.streams):
        prompts = [
            torch.from_numpy(random.standard_normal((CONTEXT, width)).astype(np.float32) * 0.02)
            for _ in range(count)
        ]
        request = {"do": "sample", "budgets": [tokens] * count, "samples": 1, "temperature": 1.0, "seed": 0}
        began = time.perf_counter()
        # Text ends where it is told to, and what ends it by chance is as seldom as any token.
        answer = model.network._process.ask_of(prompts, {**request, "end": model.tokenizer.end})
        taken = time.perf_counter() - began
        written = sum(map(len, answer["written"]))
        yield {"texts_at_once": count, "seconds": taken, "tokens_per_s": round(written / taken)}


def decoding(beams: int) -> Any:
    """Texts as long as those of speech."""
    from nim4asr.model.decoding import DecodingConfig

    return DecodingConfig(beam_size=beams, tokens_per_second=WORDS_PER_SECOND, extra_tokens=0)


def features(random: "np.random.Generator", frames: int, model: "Model") -> Any:
    import numpy as np

    return random.standard_normal((frames, model.config.features.bins)).astype(np.float32)


def reason() -> Any:
    from nim4asr.audio.voice_activity import EndReason

    return EndReason.SILENCE


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Of so many calls, after one that makes ready what is made once."""
    taken = []
    for number in range(repeats + 1):
        began = time.perf_counter()
        call()
        if number:
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def quantile(values: Sequence[float], percent: float) -> float | None:
    import numpy as np

    return float(np.percentile(values, percent)) if values else None


if __name__ == "__main__":
    sys.exit(main())
