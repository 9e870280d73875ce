"""What training around public parts is predicted to take: the tables of docs/public_parts.md.

    python tools/plan_public_parts.py

Prints them for three pairs of a public encoder and a public language model, of which the shapes stand below:
no weights are needed, and nothing is fetched. The machines are assumptions too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nim4asr.acoustics.whisper import WhisperFeatures
from nim4asr.data.amount import Amount
from nim4asr.errors import InputError
from nim4asr.model.assembly import around
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.shapes import WhisperConfig
from nim4asr.recipes.from_public_parts import recipe
from nim4asr.training.machine import GIGA, Machine
from nim4asr.training.plan import RunPlan, as_text, duration, plan_run

# 300 hours in utterances of five seconds.
AMOUNT = Amount(216_000, 1_080_000.0)


@dataclass(frozen=True)
class Pair:
    """A public encoder and a public language model, by their shapes."""

    name: str
    encoder: WhisperConfig
    llm: dict[str, Any]

    @property
    def config(self) -> Nim4Config:
        """The configuration of the model that ``nim4 new`` makes of them."""
        bins = self.encoder.input_dim
        alone = Nim4Config(self.name, self.encoder, WhisperFeatures(bins), chunks=None)
        whole = around(alone)
        assert whole.adaptor is not None
        return replace(whole, adaptor=replace(whole.adaptor, llm_dim=self.llm["hidden_size"]), llm=self.llm)


def _qwen3(hidden: int, intermediate: int) -> dict[str, Any]:
    return {
        "model_type": "qwen3",
        "vocab_size": 151_936,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "tie_word_embeddings": True,
    }


PAIRS = (
    Pair("whisper-base + Qwen3-0.6B", WhisperConfig(512, 6, 8, 2048), _qwen3(1024, 3072)),
    Pair("whisper-small + Qwen3-0.6B", WhisperConfig(768, 12, 12, 3072), _qwen3(1024, 3072)),
    Pair(
        "whisper-large-v3-turbo + Qwen3-1.7B",
        WhisperConfig(1280, 32, 20, 5120, input_dim=128),
        _qwen3(2048, 6144),
    ),
)
# What a run may take of them: nine tenths of the memory. The rates are assumed, not measured.
MACHINES = (
    Machine("a GPU of 24 GB", "cuda", int(21.6 * GIGA), int(1000 * GIGA), 100e12, "bf16"),
    Machine("a GPU of 48 GB", "cuda", int(43.2 * GIGA), int(1000 * GIGA), 150e12, "bf16"),
    Machine("a GPU of 80 GB", "cuda", int(72 * GIGA), int(1000 * GIGA), 300e12, "bf16"),
)


def plan_of(pair: Pair, machine: Machine) -> RunPlan:
    """The plan of the recipe for a pair, on a machine."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "speech").mkdir()
        (Path(folder) / "speech/mine.jsonl").touch()
        whole = recipe(Path(folder), pair.config, machine, AMOUNT)
    return plan_run(whole, pair.config, machine, AMOUNT, whole.stages_from(True, None))


def table() -> Iterator[str]:
    """The lines of the table of all pairs on all machines."""
    yield "| | parameters | machine | memory | batches of a joint-SFT step | time | disk |"
    yield "|---|---|---|---|---|---|---|"
    for pair in PAIRS:
        for machine in MACHINES:
            try:
                plan = plan_of(pair, machine)
            except InputError as error:
                needed = str(error).partition(" for ")[0]
                yield f"| {pair.name} | | {machine.name} | too small: {needed} | | | |"
                continue
            joint = next(stage for stage in plan.stages if stage.name == "joint-sft")
            yield (
                f"| {pair.name} | {plan.parameters / 1e6:,.0f} M | {machine.name} | "
                f"{plan.memory_bytes / GIGA:.1f} GB | {joint.batches} x {joint.batch_seconds:.0f} s | "
                f"{duration(plan.seconds)} | {plan.disk_bytes / GIGA:.0f} GB |"
            )


def main() -> None:
    """Print the table, and one plan in full."""
    print("\n".join(table()))
    print()
    print(as_text(plan_of(PAIRS[0], MACHINES[0])))


if __name__ == "__main__":
    main()
