"""How late live text is, how much of it is taken back, and what a second of sound costs.

    python benchmarks/streaming.py MANIFEST... [--limit N] [--model DIR] [--output DIR]
    python benchmarks/streaming.py --large [--device cuda] [--output DIR]

The first replays the dev utterances of the manifests (``nim4asr.evaluation.latency``), then measures the work
of one long stream and of many streams; beside it, in the same run with the same weights, the way that encodes
and reads everything said so far anew at each chunk. The second measures one chunk of the 2.3 B shape with
random weights and a forced number of tokens, both ways. Each writes JSON, with machine and date, into DIR
(``benchmarks/results``), and the first a plot.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from runtimes import spread, without_pauses

from nim4asr.audio.reading import read_audio
from nim4asr.audio.samples import SAMPLE_RATE, Floats
from nim4asr.audio.voice_activity import SpeechSegment, VoiceActivityConfig
from nim4asr.data.manifest import read_manifest
from nim4asr.evaluation.latency import (
    Replay,
    Revisions,
    final_delays,
    first_partial_delays,
    replay,
    revisions,
    word_delays,
)
from nim4asr.model.decoding import DecodingConfig
from nim4asr.model.nim4 import Nim4
from nim4asr.model.shapes import ChunkScheme
from nim4asr.model.slot_cache import SlotCache
from nim4asr.recipes.nim4_2b3 import network as large_network
from nim4asr.recognition.configuration import StreamingConfig
from nim4asr.recognition.engine import Engine
from nim4asr.recognition.offline import Recognizer
from nim4asr.recognition.streaming import Stream

MARKS = (10, 60, 300)
CHUNK = 0.64
# What a refresh writes: the five tokens rolled back and about three of the new chunk.
REFRESHED = 8


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    row: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{processor()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }
    if options.large:
        row |= large(options.device)
        name = "streaming-2b3"
        plot_large(row, options.output)
    else:
        row |= small(options)
        name = "streaming"
        plot(row, options.output)
    (options.output / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in row.items() if key != "samples"}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", nargs="*", type=Path)
    parser.add_argument("--limit", type=int, default=60, help="utterances of each manifest (default: 60)")
    parser.add_argument("--model")
    parser.add_argument("--runtime", choices=("onnx", "torch"), help="default: the model's")
    parser.add_argument("--large", action="store_true", help="the 2.3 B shape with random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if not options.large and not options.manifests:
        parser.error("give manifests, or --large")
    return options


def processor(on_gpu: bool | None = None) -> str:
    """The name of the GPU, or of the processor; without ``on_gpu``, of the GPU if there is one."""
    if torch.cuda.is_available() if on_gpu is None else on_gpu:
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def small(options: argparse.Namespace) -> dict[str, Any]:
    recognizer = Recognizer.load(options.model, runtime=options.runtime)
    recordings = [
        read_audio(one.source())
        for path in options.manifests
        for one in spread([u for u in read_manifest(path) if u.split == "dev"], options.limit)
    ]
    warm(recognizer, recordings[0])
    found: dict[str, Any] = {
        "model": recognizer.model.config.name,
        "runtime": options.runtime or "default",
        "utterances": len(recordings),
    }
    found["samples"] = samples = {}
    for mode in ("refresh", "final"):
        tell(f"delays of mode {mode}")
        config = StreamingConfig(mode)
        silence = np.zeros(SAMPLE_RATE, np.float32)
        replays = [
            replay(Stream(recognizer.model, config), np.concatenate([recording, silence]))
            for recording in recordings
        ]
        found[mode], samples[mode] = delays(replays, config.voice_activity.speech_pad_s)
    continuous = without_pauses(recordings, MARKS[-1])
    tell("work a second")
    found["work"] = work(recognizer, continuous)
    tell("streams held")
    found["streams"] = streams(recognizer, continuous)
    return found


def warm(recognizer: Recognizer, samples: Floats) -> None:
    replay(Stream(recognizer.model), samples)
    recognizer.transcribe(samples, sample_rate=SAMPLE_RATE)


def delays(replays: Sequence[Replay], padding: float) -> tuple[dict[str, Any], dict[str, list[float]]]:
    samples = {
        "first_partial": [d for one in replays for d in first_partial_delays(one, padding)],
        "word_stable": [d for one in replays for d in word_delays(one)],
        "final": [d for one in replays for d in final_delays(one)],
    }
    total = sum((revisions(one) for one in replays), Revisions())
    figures: dict[str, Any] = {name: quantiles(values) for name, values in samples.items()}
    figures["revised_share"] = share(total.revised, total.shown)
    figures["stable_revised_share"] = share(total.stable_revised, total.stable_shown)
    figures["real_time_factor"] = round(
        sum(sum(one.computing) for one in replays) / sum(one.seconds for one in replays), 4
    )
    return figures, {name: [round(v, 4) for v in values] for name, values in samples.items()}


def quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 90, 99)}


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def work(recognizer: Recognizer, samples: Floats) -> list[dict[str, Any]]:
    """Computing a second of sound, in the ten seconds before each mark of one stream that never pauses.

    Ours cuts it at 30 s, as it would any; the other way reads all that was said since the stream's start.
    """
    # Only the longest length ends a segment.
    config = StreamingConfig(voice_activity=VoiceActivityConfig(min_silence_s=5.0))
    computing = np.median(
        [replay(Stream(recognizer.model, config), samples).computing for _ in range(3)], axis=0
    )
    rows = []
    for mark in MARKS:
        ours = float(computing[(mark - 10) * 10 : mark * 10].sum()) / 10
        heard = SpeechSegment(0.0, samples[: mark * SAMPLE_RATE])
        again = median_seconds(lambda heard=heard: from_the_start(recognizer, heard), 3) / CHUNK
        rows.append({"second": mark, "ours": round(ours, 4), "re_encoding": round(again, 4)})
    for row in rows:
        row["ours_to_first"] = round(row["ours"] / rows[0]["ours"], 3)
        row["re_encoding_to_ours"] = round(row["re_encoding"] / row["ours"], 1)
    return rows


def from_the_start(recognizer: Recognizer, heard: SpeechSegment) -> None:
    """What a recognizer without caches does at a chunk: everything, but for the text that it keeps.

    It is given the favour of writing as few tokens as a refresh does.
    """
    budget = DecodingConfig(tokens_per_second=1e-9, extra_tokens=REFRESHED)
    Recognizer(recognizer.model, replace(recognizer.config, decoding=budget)).recognize([heard])


def median_seconds(call: Callable[[], object], times: int, patience: float = 60.0) -> float:
    """Of ``times`` calls; of fewer once they have taken ``patience`` seconds, for what takes a minute varies
    little.
    """
    taken: list[float] = []
    while len(taken) < times and sum(taken) < patience:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def tell(phase: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {phase}", file=sys.stderr, flush=True)


def streams(recognizer: Recognizer, samples: Floats, seconds: int = 12) -> dict[str, Any]:
    """How many streams are held in real time: their computing takes no longer than their sound."""
    config = StreamingConfig(voice_activity=VoiceActivityConfig(min_silence_s=5.0))
    loads: dict[int, float] = {}
    count = 1
    while count == 1 or (loads[count // 2] < 1 and count <= 256):
        engine = Engine(recognizer.model)
        handles = [engine.open(config) for _ in range(count)]
        began = time.perf_counter()
        for frame in range(seconds * 10):
            for place, handle in enumerate(handles):
                # Different sound for each, and no two at the same place of a chunk.
                start = (place * 7919 + frame * 1600) % (len(samples) - 1600)
                handle.feed(samples[start : start + 1600])
            while any(handle.busy for handle in handles):
                engine.step()
        loads[count] = (time.perf_counter() - began) / seconds
        count *= 2
    held = interpolated(loads)
    heard = SpeechSegment(0.0, samples[: seconds * SAMPLE_RATE])
    # The other way, at the middle of the same stretch, which is its mean.
    middle = SpeechSegment(0.0, heard.samples[: len(heard.samples) // 2])
    again = median_seconds(lambda: from_the_start(recognizer, middle), 3) / CHUNK
    return {
        "load": {str(count): round(load, 3) for count, load in loads.items()},
        "held": held,
        "held_re_encoding": int(1 / again),
    }


def interpolated(loads: dict[int, float]) -> int:
    """Where the load reaches 1, between the last number of streams below and the first above."""
    counts = sorted(loads)
    return int(np.interp(1.0, [loads[count] for count in counts], counts))


@torch.no_grad()
def large(device: str) -> dict[str, Any]:
    """One chunk of the 2.3 B shape after ten and thirty seconds of a segment, in bfloat16."""
    with torch.device("meta"):
        network = Nim4(large_network())
    network = network.to(torch.bfloat16).to_empty(device=device).eval()
    tell("random weights")
    for parameter in network.parameters():
        parameter.normal_(std=0.02)
    restore_rotary(network, device)
    network.llm.tie_weights()
    assert network.adaptor is not None
    chunks = ChunkScheme()
    rows = []
    for seconds in (10, 30):
        tell(f"a chunk after {seconds} s")
        rows.append(one_chunk(network, chunks, seconds, device))
    return {"shape": "nim4-2.3b, random weights, bfloat16", "device": device, "chunks": rows}


def restore_rotary(network: Nim4, device: str) -> None:
    """Buffers that ``to_empty`` left without values: the rotary embedding's rates."""
    config = network.llm.config
    fresh = type(network.llm.model.rotary_emb)(config).to(device)
    network.llm.model.rotary_emb = fresh


def one_chunk(network: Nim4, chunks: ChunkScheme, seconds: int, device: str) -> dict[str, Any]:
    assert network.adaptor is not None and network.phoneme_head is not None
    kept = 3 * seconds
    dim = network.llm.get_input_embeddings().embedding_dim
    rand = lambda *shape: torch.randn(*shape, device=device, dtype=torch.bfloat16) * 0.02  # noqa: E731
    cache = SlotCache(network.llm, capacity=1024)
    slot = cache.allocate()
    cache.extend([slot], [rand(30 + round(seconds * 6.25), dim)])
    held = cache.lengths[slot]
    state = network.encoder.initial_state(1, chunks)
    clock, bins = network.config.clock, network.config.features.bins
    features, lengths = rand(1, clock.window(chunks.size), bins), torch.tensor([chunks.size], device=device)
    whole = rand(1, seconds * clock.feature_hz, bins)

    def listen() -> torch.Tensor:
        assert network.adaptor is not None and network.phoneme_head is not None
        frames, _ = network.encoder.forward_chunk(features, lengths, state)
        network.phoneme_head(frames)
        return wait(network.adaptor(frames, lengths)[0][0], device)

    def listen_again() -> torch.Tensor:
        assert network.adaptor is not None and network.phoneme_head is not None
        frames, count = network.encoder(whole, torch.tensor([whole.shape[1]], device=device))
        network.phoneme_head(frames)
        return wait(network.adaptor(frames, count)[0][0], device)

    def read(slot: int, positions: int) -> None:
        wait(cache.extend([slot], [rand(positions, dim)]), device)

    def refresh() -> None:
        cache.truncate(slot, held)
        listen()
        read(slot, chunks.size // 4 + 5 + kept)
        for _ in range(REFRESHED):
            read(slot, 1)

    again = cache.allocate()

    def re_encode() -> None:
        cache.truncate(again, 0)
        listen_again()
        read(again, held + 5 + kept)
        for _ in range(REFRESHED):
            read(again, 1)

    cache.truncate(slot, held)
    times = {
        "encoder": median_seconds(listen, 3),
        "refresh": median_seconds(refresh, 3),
        "re_encoding": median_seconds(re_encode, 3),
    }
    row: dict[str, Any] = {f"{name}_seconds": round(value, 3) for name, value in times.items()}
    return {
        "after_seconds": seconds,
        "kept_tokens": kept,
        "written_tokens": REFRESHED,
        **row,
        "re_encoding_to_refresh": round(times["re_encoding"] / times["refresh"], 2),
    }


def wait(tensor: torch.Tensor, device: str) -> torch.Tensor:
    if device != "cpu":
        torch.cuda.synchronize(device)
    return tensor


def plot(row: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6))
    for name, label in (
        ("first_partial", "first partial after the voice"),
        ("word_stable", "word's end to stable"),
        ("final", "final after the endpoint"),
    ):
        values = np.sort(row["samples"]["refresh"][name])
        axes[0].plot(values, np.linspace(0, 1, len(values)), label=label)
    axes[0].set(xlabel="seconds", ylabel="share of cases", title="Delays, mode refresh")
    axes[0].legend(fontsize=7)
    marks = [one["second"] for one in row["work"]]
    axes[1].loglog(marks, [one["ours"] for one in row["work"]], "o-", label="each second once")
    axes[1].loglog(marks, [one["re_encoding"] for one in row["work"]], "s--", label="everything anew")
    axes[1].set(xlabel="second of the stream", ylabel="computing a second of sound (s)", title="Work")
    axes[1].legend(fontsize=7)
    loads = {int(count): load for count, load in row["streams"]["load"].items()}
    axes[2].loglog(list(loads), list(loads.values()), "o-")
    axes[2].axhline(1.0, color="grey", linestyle=":")
    axes[2].set(xlabel="streams", ylabel="computing a second (s)", title="Streams held in real time")
    figure.suptitle(f"{row['model']}, {row['machine']}, {row['date']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / "streaming.png", dpi=110)


def plot_large(row: dict[str, Any], folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.6))
    chunks = row["chunks"]
    places = np.arange(len(chunks))
    for shift, (name, label) in enumerate(
        (("encoder", "encoder alone"), ("refresh", "refresh"), ("re_encoding", "everything anew"))
    ):
        bars = axis.bar(
            places + 0.27 * (shift - 1), [chunk[f"{name}_seconds"] for chunk in chunks], 0.25, label=label
        )
        axis.bar_label(bars, fmt="%.3g", fontsize=7)
    axis.set_yscale("log")
    axis.set_xticks(places, [f"after {chunk['after_seconds']} s" for chunk in chunks])
    axis.set(ylabel="computing a chunk of 0.64 s (s)")
    axis.legend(fontsize=7)
    figure.suptitle(f"{row['shape']}, {row['machine']}, {row['date']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / "streaming-2b3.png", dpi=110)


if __name__ == "__main__":
    main()
