"""What a step of training costs: its time, its memory, its tokens, and its share of the machine's peak.

    python benchmarks/training.py [--recipe nano|nim4-2.3b] [--stage NAME]... [--device cuda]
        [--steps N] [--output DIR]

Each stage of the recipe is run on random weights, features and texts, in batches of the recipe's seconds, all
utterances alike in length; bf16 where the recipe has it. FLOPs are those of the matrix products and attention
of a step, forward and backward, as torch counts them (its count for grouped convolutions is too high, so that
convolutions are left out); the peak is what one large matrix product reaches in the same run. Roll-outs of
random weights hardly ever end before their budget: RL's step is the longest it can be. Writes JSON, with
machine and date, into DIR (``benchmarks/results``).
"""

import argparse
import gc
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator, default_rng
from streaming import processor
from torch.utils.flop_counter import FlopCounterMode

from nim4asr.acoustics.frontend import FeatureConfig
from nim4asr.data.batches import SpeechBatch
from nim4asr.data.keywords import KeywordSet
from nim4asr.model.checkpoint import load
from nim4asr.model.folder import bundled
from nim4asr.model.nim4 import Nim4
from nim4asr.phonemes import TABLE
from nim4asr.recipes import NETWORKS, training_recipe
from nim4asr.training.async_sft.stage import AsyncIaSft
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.loop.optimizer import build_optimizer
from nim4asr.training.model import TrainableModel
from nim4asr.training.recipe import Recipe
from nim4asr.training.stages.base import Stage
from nim4asr.training.stages.mixed_text import MixedText
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl

MEASURED = ("pretraining", "ia-sft", "joint-sft", "rl")
SECONDS = 8.0
# What is said in a second, about.
PHONEMES, CHARACTERS = 8, 4
COMMON = "的一是了我不在人们有来他这上着个地到大里"


def main() -> None:
    options = arguments()
    recipe = programme_of(options.recipe)
    device = torch.device(options.device)
    row: dict[str, Any] = {
        "recipe": options.recipe,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(device),
        "torch": torch.__version__,
        "precision": "bf16" if in_half(recipe, device) else "fp32",
        "utterance_seconds": SECONDS,
        "stages": {},
    }
    for name in options.stage or MEASURED:
        row["stages"][name] = measured(recipe, name, options.steps, device)
        print(name, json.dumps(row["stages"][name]), flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"training-{options.recipe}-{device.type}.json"
    path.write_text(json.dumps(row, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", choices=NETWORKS, default="nano")
    parser.add_argument("--stage", choices=MEASURED, action="append")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=7, help="the median of so many is told (default: 7)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


def programme_of(recipe: str) -> Recipe:
    """The recipe's recipe, of no data; a recipe that takes every manifest there is finds an empty one."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "speech").mkdir()
        (Path(folder) / "speech/none.jsonl").touch()
        return training_recipe(recipe, Path(folder))


def stages_of(recipe: Recipe) -> Mapping[str, Stage]:
    """The stages that are measured, by name."""
    both, joint, rl = (recipe.stages[name] for name in ("ia-sft", "joint-sft", "rl"))
    assert isinstance(both, AsyncIaSft)
    alone = {"pretraining": both.pretraining, "ia-sft": both.ia_sft, "joint-sft": joint, "rl": rl}
    # Of stages in turns with text, the steps on speech.
    return {name: one.speech if isinstance(one, MixedText) else one for name, one in alone.items()}


def measured(recipe: Recipe, name: str, steps: int, device: torch.device) -> dict[str, Any]:
    """The figures of one stage."""
    stage: Any = stages_of(recipe)[name]
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    tokenizer = load(bundled()).tokenizer
    assert tokenizer is not None
    network = Nim4(recipe.network(len(tokenizer))).to(device).train()
    model = TrainableModel(network, tokenizer, keywords=KeywordSet([COMMON[:2], COMMON[4:6]]))
    objective = stage.objective(model)
    optimizer = build_optimizer(objective.named_parameters(), stage.loop.optimizer)
    batch = batch_of(stage, model.network.config.features, default_rng(0)).to(device)
    objective.open()
    half = in_half(recipe, device)
    dtype = torch.bfloat16 if half else torch.float32

    def step(number: int) -> None:
        with torch.no_grad():
            ready = objective.prepare(batch, number, default_rng(number))
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = mean_loss(objective(ready, default_rng(number)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for number in range(2):
        step(number)
    peak = matrix_product_rate(device, dtype)
    times = [timed(lambda number=number: step(number), device) for number in range(steps)]
    rates = []
    for number in range(steps):
        # How many chunks a frame sees, and so what a step computes, is drawn by its number.
        with FlopCounterMode(display=False) as counter:
            step(number)
        rates.append(products(counter) / times[number])
    objective.close()
    seconds = statistics.median(times)
    positions = places(stage, network, batch)
    memory = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "seconds_per_step": round(seconds, 3),
        "audio_seconds_per_step": batch.seconds,
        "audio_seconds_per_second": round(batch.seconds / seconds, 1),
        "tokens_per_second": round(positions / seconds),
        "peak_memory_gb": round(memory / 1e9, 2),
        "teraflops": round(statistics.median(rates) / 1e12, 4),
        "matrix_product_teraflops": round(peak / 1e12, 4),
        "share_of_peak": round(statistics.median(rates) / peak, 3),
    }


def in_half(recipe: Recipe, device: torch.device) -> bool:
    """Whether steps are in bf16: where the recipe has it, and the device is one for it."""
    return device.type == "cuda" and recipe.precision == "bf16"


def batch_of(stage: Any, features: FeatureConfig, random: Generator) -> SpeechBatch:
    """Noise in the place of features, and characters at random."""
    rows = max(1, round(stage.data.batch_seconds / SECONDS))
    views = stage.views if isinstance(stage, Pretraining) else 1
    frames, said = round(SECONDS * features.hz), round(SECONDS * PHONEMES)
    return SpeechBatch(
        torch.from_numpy(random.standard_normal((views, rows, frames, features.bins), "float32")),
        torch.full((rows,), frames),
        torch.from_numpy(random.integers(1, len(TABLE), rows * said)),
        torch.full((rows,), said),
        tuple("".join(random.choice(list(COMMON), round(SECONDS * CHARACTERS))) for _ in range(rows)),
        tuple(map(str, range(rows))),
        features.hz,
    )


def places(stage: Any, network: Nim4, batch: SpeechBatch) -> int:
    """The places that a step's loss is over: encoder frames in pre-training, else speech and text tokens."""
    rows = len(batch.texts) * len(batch.features)
    frames = rows * int(SECONDS / network.config.clock.frame_s)
    if isinstance(stage, Pretraining):
        return frames
    copies = stage.samples if isinstance(stage, Rl) else 1
    return copies * (frames // network.config.adaptor.stack + rows * round(SECONDS * CHARACTERS))


def products(counter: FlopCounterMode) -> int:
    counts = counter.get_flop_counts()["Global"]
    return sum(count for op, count in counts.items() if "convolution" not in str(op))


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of a large product, the median of five."""
    size = 8192 if device.type == "cuda" else 2048
    one = torch.randn(size, size, device=device, dtype=dtype)
    other = torch.randn(size, size, device=device, dtype=dtype)
    timed(lambda: one @ other, device)
    return 2 * size**3 / statistics.median(timed(lambda: one @ other, device) for _ in range(5))


def timed(what: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    what()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def machine(device: torch.device) -> str:
    on_gpu = device.type == "cuda"
    return processor(on_gpu) if on_gpu else f"{processor(on_gpu)}, {torch.get_num_threads()} cores"


if __name__ == "__main__":
    main()
