"""What a stage costs, predicted from the network's configuration: memory and time, without weights.

    memory = weights + gradients + optimizer + max(batch seconds * kept a second, a step's own tensors)
    time   = max(operations / (0.4 of what one large product reaches), 0.05 s a batch) + drawn tokens

Weights and optimizer are counted; what autograd keeps of a second is a formula, whose factors were counted
with ``torch.autograd.graph.saved_tensors_hooks``, as a test counts them again. A second here is one of
``SpeechData.batch_seconds``, of which an utterance takes as many as it lasts and its ``utterance_cost_s``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.nim4 import Nim4
from nim4asr.training.loop.precision import Precision
from nim4asr.training.lora import LoraConfig
from nim4asr.training.machine import GIGA, Device, Machine
from nim4asr.training.stages.base import SpeechStage, Work

# Tokens of transcripts in a second of fast speech, of a prompt's wording, and of the hints in one.
TEXT_TOKENS_S, PROMPT_TOKENS, HINT_TOKENS = 6.0, 30, 40
# What the program, its libraries and their workspaces take.
_BASE_BYTES = 1.0e9
# nano's stages reached 40 to 64 % of one large product on two cores; a GPU has not been measured.
_UTILIZATION = 0.4
# A batch is not done sooner, however little there is to compute: kernels are launched one after another, and
# batches read.
_BATCH_S = 0.05
# A token is drawn in so many seconds at the least, and so many come one after another in a batch.
_TOKEN_S, _DRAWN_IN_A_ROW = 0.02, 60
# Bytes that a block of the language model keeps of a token, for each dimension of its width, of its
# feed-forward layer, of its queries, of its keys, and of LoRA's rank: by how it is trained, in float32 and
# where autocast multiplies in bfloat16.
_KEPT: Mapping[tuple[str, Precision], tuple[float, ...]] = {
    ("whole", "no"): (28, 16, 26, 13, 0),
    ("whole", "bf16"): (28, 8, 16, 9, 0),
    ("lora", "no"): (20, 16, 26, 9, 62),
    ("lora", "bf16"): (20, 8, 16, 6, 32),
    ("passed", "no"): (12, 12, 23, 9, 0),
    ("passed", "bf16"): (10, 6, 14, 7, 0),
}
# Of a logit: itself, its logarithm, and the gradients of both.
_LOGIT_BYTES = 16


@dataclass(frozen=True)
class StageCost:
    """The predicted cost of one stage."""

    fixed_bytes: float
    """Weights, gradients, optimizer, program."""
    step_bytes: float
    """What the optimizer's step takes for itself, when what was kept is gone."""
    kept_bytes_per_s: float
    """What is kept of a second of a batch."""
    flops_per_audio_s: float
    """Of the encoder and its heads, a second of sound."""
    flops_per_s: float
    """Of the language model, a second of a batch."""
    draws: bool
    """Whether transcripts are drawn, token by token."""
    frame_flops_per_audio_s: float
    """What storing the encoder's frames takes, once."""
    frame_bytes_per_audio_s: float
    """What they take of the disk."""
    trained: int
    """Weights that are trained."""

    def memory_bytes(self, batch_seconds: float) -> float:
        """The memory of a stage in batches of so many seconds."""
        return self.fixed_bytes + max(self.kept_bytes_per_s * batch_seconds, self.step_bytes)

    def most_seconds(self, memory_bytes: float) -> float:
        """The seconds of the largest batch that fits; 0 if none does."""
        if self.fixed_bytes + self.step_bytes > memory_bytes:
            return 0.0
        return (memory_bytes - self.fixed_bytes) / self.kept_bytes_per_s

    def seconds(self, machine: Machine, audio_s: float, batch_s: float, batches: int) -> float:
        """How long ``batches`` of ``batch_s`` seconds in all take, which hold ``audio_s`` of sound."""
        flops = self.flops_per_audio_s * audio_s + self.flops_per_s * batch_s
        drawing = _DRAWN_IN_A_ROW * _TOKEN_S * batches if self.draws else 0.0
        return max(flops / (machine.flops * _UTILIZATION), _BATCH_S * batches) + drawing

    def frame_seconds(self, machine: Machine, audio_s: float) -> float:
        """How long it takes to store the frames of ``audio_s`` of sound."""
        return self.frame_flops_per_audio_s * audio_s / (machine.flops * _UTILIZATION)


class CostModel:
    """The costs of stages on the network of ``config``, which must be complete, in ``precision``, on
    ``device``.
    """

    def __init__(self, config: Nim4Config, precision: Precision, device: Device = "cpu") -> None:
        self.config, self.precision, self.device = config, precision, device
        with torch.device("meta"):
            self._network = Nim4(config)
        self._encoder = self._network.encoder
        self._counts = self._network.parameter_counts()
        self._half = precision == "bf16"

    @property
    def parameters(self) -> int:
        """All weights of the network."""
        return self._counts["total"]

    @property
    def frames_per_s(self) -> float:
        """The encoder's frames in a second."""
        return 1 / self.config.clock.frame_s

    @property
    def tokens_per_s(self) -> float:
        """The language model's tokens of a second of sound: of speech, and of its transcript."""
        assert self.config.adaptor is not None
        return self.frames_per_s / self.config.adaptor.stack + TEXT_TOKENS_S

    def prompt_s(self, hints: bool) -> float:
        """The seconds of sound that cost what a prompt does: ``SpeechData.utterance_cost_s``."""
        return (PROMPT_TOKENS + HINT_TOKENS * hints) / self.tokens_per_s

    def cost(self, stage: SpeechStage) -> StageCost:
        """The cost of ``stage``."""
        work, data, counts = stage.work(), stage.data, self._counts
        trained = sum(counts[block] for block in work.trained) + self._corrections(work.lora)
        copies = 1 + bool(work.samples)
        # Of a GPU's memory, a stage takes what it needs; a computer's holds all the weights.
        alone = "adaptor" not in work.trained and self.device == "cuda"
        idle = counts["adaptor"] + counts["llm"] if alone else 0
        stored = data.frames is not None
        frame_flops = 2 * counts["encoder"] * self._encoder.inner_frames * self.frames_per_s
        views = len(data.frames.chunks) if data.frames is not None else 0
        dim = self.config.encoder.frame_dim
        return StageCost(
            fixed_bytes=_BASE_BYTES
            + 4 * (counts["total"] - idle) * copies
            + 12 * trained
            + self.cast_bytes(work),
            step_bytes=4 * trained,
            kept_bytes_per_s=self._kept_by_encoder(work, stored, data.max_s) + self._kept_by_llm(stage),
            flops_per_audio_s=self._encoder_flops(work, 0.0 if stored else frame_flops),
            flops_per_s=self._llm_flops(work),
            draws=bool(work.samples),
            frame_flops_per_audio_s=frame_flops * views,
            frame_bytes_per_audio_s=2 * dim * self.frames_per_s * views,
            trained=trained,
        )

    def _kept_by_encoder(self, work: Work, stored: bool, longest_s: float) -> float:
        config = self.config
        frames = math.ceil(longest_s * self.frames_per_s)
        whole = self._encoder.kept_bytes(frames, self._half)
        if stored:
            kept = 4.0 * config.encoder.frame_dim
        else:
            # Without gradients, one block at a time.
            kept = whole if "encoder" in work.trained else whole / config.encoder.blocks
        if "phoneme_head" in work.trained and config.phoneme_head is not None:
            head = config.phoneme_head
            # The divergence of two views keeps as much of their posteriors as CTC does.
            kept += 16 * head.phonemes * min(work.views, 2)
            kept += (2 if self._half else 4) * (head.encoder_dim + 4 * head.hidden_dim)
        if "adaptor" in work.trained and config.adaptor is not None:
            adaptor = config.adaptor
            hidden = adaptor.hidden_dim or adaptor.llm_dim
            kept += 4 * (adaptor.encoder_dim + 3 * (hidden + adaptor.llm_dim) / adaptor.stack)
        return kept * work.views * self.frames_per_s

    def _kept_by_llm(self, stage: SpeechStage) -> float:
        work, data = stage.work(), stage.data
        if not work.writes:
            return 0.0
        llm, copies = self._llm, max(1, work.samples)
        prompt = PROMPT_TOKENS + HINT_TOKENS * work.hints
        # The more prompts, the shorter the utterances are.
        tokens = max(
            (self.tokens_per_s * length + prompt) / (length + data.utterance_cost_s)
            for length in (data.min_s, data.max_s)
        )
        cache = 8 * llm.blocks * llm.keys * tokens if work.samples else 0.0
        return copies * (
            tokens * self.kept_of_token(work) + TEXT_TOKENS_S * _LOGIT_BYTES * llm.vocabulary + cache
        )

    def kept_of_token(self, work: Work) -> float:
        """What the language model's blocks keep of a token, in bytes."""
        kind = "whole" if "llm" in work.trained else "lora" if work.lora is not None else "passed"
        llm, rank = self._llm, 0 if work.lora is None else work.lora.rank
        sizes = (llm.width, llm.wide, llm.queries, llm.keys, rank)
        return llm.blocks * sum(k * s for k, s in zip(_KEPT[kind, self.precision], sizes, strict=True))

    def cast_bytes(self, work: Work) -> float:
        """The copies in bfloat16 of weights that gradients pass."""
        if not self._half:
            return 0.0
        llm = self._llm.body + self._llm.output if work.writes else 0
        return 2.0 * (llm + self._counts["encoder"] * ("encoder" in work.trained))

    def _encoder_flops(self, work: Work, forward: float) -> float:
        per_frame = 2 * self.frames_per_s
        head = per_frame * self._counts["phoneme_head"] * ("phoneme_head" in work.trained)
        adaptor = 0.0
        if "adaptor" in work.trained and self.config.adaptor is not None:
            adaptor = per_frame / self.config.adaptor.stack * self._counts["adaptor"]
        passes = 3 if "encoder" in work.trained else 1
        # RL hears every batch once more, by the model that it began with.
        return work.views * (passes * forward + 3 * head) + 3 * adaptor + forward * bool(work.samples)

    def _llm_flops(self, work: Work) -> float:
        if not work.writes:
            return 0.0
        llm = self._llm
        forward = 2 * (llm.body * self.tokens_per_s + llm.output * TEXT_TOKENS_S)
        # Gradients of the weights cost as much as those of what passes through them.
        passes = 3 if "llm" in work.trained else 2
        # Roll-outs, and the log probabilities of the model that RL began with.
        return max(1, work.samples) * forward * (passes + 2 * bool(work.samples))

    def _corrections(self, lora: LoraConfig | None) -> int:
        """The weights of LoRA's corrections."""
        return 0 if lora is None else lora.rank * self._llm.sides

    @cached_property
    def _llm(self) -> "_LlmSizes":
        return _LlmSizes.of(self._network.llm)


@dataclass(frozen=True)
class _LlmSizes:
    """The sizes of a language model: ``body`` its weights without embeddings and output, ``output`` those of
    the output layer, ``sides`` the sum of rows and columns of its matrices.
    """

    blocks: int
    width: int
    wide: int
    queries: int
    keys: int
    vocabulary: int
    body: int
    output: int
    sides: int

    @classmethod
    def of(cls, llm: Any) -> "_LlmSizes":
        config = llm.config
        width, heads = config.hidden_size, config.num_attention_heads
        head = getattr(config, "head_dim", None) or width // heads
        ends = (llm.get_input_embeddings(), llm.get_output_embeddings())
        outside = {id(p): p.numel() for end in ends for p in end.parameters()}
        weights = [
            module.weight
            for module in llm.modules()
            if not isinstance(module, nn.Embedding) and hasattr(module, "weight")
        ]
        matrices = [weight for weight in weights if weight.ndim == 2 and id(weight) not in outside]
        return cls(
            blocks=config.num_hidden_layers,
            width=width,
            wide=getattr(config, "intermediate_size", None) or 4 * width,
            queries=heads * head,
            keys=(getattr(config, "num_key_value_heads", None) or heads) * head,
            vocabulary=config.vocab_size,
            body=sum(p.numel() for p in llm.parameters()) - sum(outside.values()),
            output=config.vocab_size * width,
            sides=sum(sum(matrix.shape) for matrix in matrices),
        )


def fit(name: str, stage: SpeechStage, cost: StageCost, memory_bytes: float) -> tuple[float, int]:
    """The seconds of a batch, and how many batches make a step, for a stage whose ``batch_seconds`` are those
    of a step: as few batches as the memory allows.

    Raises ``InputError`` if the longest utterance does not fit.
    """
    most, longest = cost.most_seconds(memory_bytes), stage.data.max_s + stage.data.utterance_cost_s
    if most < longest:
        raise InputError(
            f"the stage {name!r} needs {cost.memory_bytes(longest) / GIGA:.1f} GB for one utterance of "
            f"{stage.data.max_s:g} s, and there are {memory_bytes / GIGA:.1f}; take a smaller encoder or "
            "language model, or a machine with more memory"
        )
    parts = math.ceil(stage.data.batch_seconds / most)
    return stage.data.batch_seconds / parts, parts
