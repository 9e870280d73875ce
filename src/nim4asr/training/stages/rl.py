"""Stage 6, reinforcement learning: GRPO on rewards that are functions of the text.

For every utterance K transcripts are sampled; each is worth what its reward lies above the others':

    A_i = (R_i - mean R) / (std R + 1e-6)
    loss = mean_i mean_t [ -min(r A_i, clip(r, 1 - c, 1 + c) A_i) + beta k ]

with r = p / p_old of a token, k = p_start / p - log(p_start / p) - 1, an estimate of KL(p || p_start) that is
never negative, and p_start the model that the stage began with (Shao et al. 2024, arXiv 2402.03300). Rewards
are in ``nim4asr.training.rollouts.rewards``. Groups whose rewards are all alike teach nothing and are left
out.

Trains everything. Speech embeddings are computed once a batch, and serve the roll-outs and the log
probabilities.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from numpy.random import Generator
from torch import Tensor

from nim4asr.data.batches import SpeechBatch
from nim4asr.model.nim4 import Nim4, Prompt
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.objective import LossTerm, LossTerms, Objective
from nim4asr.training.lora import LoraConfig
from nim4asr.training.model import TrainableModel
from nim4asr.training.rollouts.rewards import Reward, reward
from nim4asr.training.rollouts.sampling import Draw, sample, token_log_probs
from nim4asr.training.rollouts.vllm_engine import VllmConfig, VllmEngine
from nim4asr.training.speech import SpeechData
from nim4asr.training.stages.base import SpeechStage, Work, leave_trainable, trained_with
from nim4asr.training.stages.hints import HintSampling, draw_hints
from nim4asr.training.stages.pretraining import DEPLOYED_CHUNKS

# Rewards less than this apart are alike.
_SPREAD = 1e-4


@dataclass(frozen=True)
class Rl(SpeechStage):
    """Stage 6."""

    loop: LoopConfig
    data: SpeechData = field(default_factory=lambda: SpeechData(24.0, empty_share=0.03, augmentation=None))
    group_size: int = 8
    """K: so many transcripts are drawn of each utterance."""
    clip_range: float = 0.2
    """c of the equation."""
    kl_weight: float = 0.02
    """beta of the equation."""
    temperature: tuple[float, float] = (1.0, 0.7)
    """The temperature of roll-outs at the first and the last step; between, it falls as a cosine."""
    hints: HintSampling = field(default_factory=HintSampling)
    """Which prompts have hints."""
    important_keywords: frozenset[str] = frozenset()
    """Keywords that are scored whether hinted or not."""
    vllm: VllmConfig | None = None
    """A vLLM to draw the roll-outs with."""
    lora: LoraConfig | None = None
    """Trains corrections of the language model in the place of all of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora is not None and self.vllm is not None:
            raise ValueError("vLLM is given whole weights; without it, lora can be trained")
        if self.group_size < 2:
            raise ValueError(f"a group needs two samples to compare, not {self.group_size}")
        if min(self.temperature) <= 0 or self.clip_range <= 0 or self.kl_weight < 0:
            raise ValueError("temperature and clip must be above 0, and kl_weight not below")

    def temperature_at(self, turn: int) -> float:
        """The temperature of a process's batch ``turn``, counted from 0."""
        first, last = self.temperature
        done = min(1.0, turn / max(1, self.loop.steps * self.loop.accumulation_steps))
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def shardable(self) -> bool:
        """No: transcripts are drawn with whole weights."""
        return False

    def objective(self, model: TrainableModel) -> "Grpo":
        """The loss above; everything but the phoneme head is left trainable, and today's model is p_start."""
        leave_trainable(model.network, self.work())
        return Grpo(model, self)

    def work(self) -> Work:
        """Everything but the phoneme head."""
        trained = trained_with("encoder", "adaptor", lora=self.lora)
        return Work(trained, 1, True, True, self.lora, self.group_size)


@dataclass(frozen=True, eq=False)
class Group:
    """What was sampled for the ``prompt`` of each utterance: K token sequences, with log p_start of their
    tokens, their rewards and their advantages (B * K,), and which utterances' rewards have a spread (B,).
    """

    prompt: Prompt
    written: Sequence[Sequence[int]]
    old: Tensor | None
    start: Tensor
    rewards: Sequence[Reward]
    advantages: Tensor
    spread: Tensor


class Grpo(Objective[SpeechBatch]):
    """The equation above."""

    def __init__(self, model: TrainableModel, config: Rl) -> None:
        super().__init__()
        self.network, self.config = model.network, config
        self._tokenizer, self._keywords = model.tokenizer, model.keywords
        self._start: tuple[Nim4, ...] = ()
        self._engine: VllmEngine | None = None
        self._draw = Draw(config.group_size, config.temperature[0], 0)

    def open(self) -> None:
        """Keep p_start."""
        # In a tuple, where it is no submodule: neither trained nor saved.
        self._start = (copy.deepcopy(self.network).requires_grad_(False).eval(),)

    def train(self, mode: bool = True) -> "Grpo":
        """Without dropout: p, p_old and p_start are to differ by what was learnt, and by nothing else."""
        super().train(False)
        self.training = mode
        return self

    def prepare(self, batch: SpeechBatch, turn: int, random: Generator) -> SpeechBatch:
        """Note which roll-outs ``forward`` is to draw, and bring the engine's weights up to date when that is
        due.
        """
        engine = self.config.vllm
        if engine is not None and (self._engine is None or turn % engine.refresh_every == 0):
            self._engine = self._engine or VllmEngine(engine, next(self.network.parameters()).device)
            self._engine.refresh(self.network.llm)
        self._draw = Draw(
            self.config.group_size, self.config.temperature_at(turn), int(random.integers(2**31))
        )
        return batch

    def close(self) -> None:
        """End the engine, if one was started."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def forward(self, batch: SpeechBatch, random: Generator) -> LossTerms:
        """``policy`` and ``kl``; beside them the parts of the reward, lengths, and the share of groups
        without spread.
        """
        group = self.roll_out(batch, random)
        log_probs, counts = token_log_probs(self.network.llm, group.prompt, group.written)
        # Drawn by today's model, p_old is p: the ratio is 1 with the gradient of log p, and the clip idle.
        old = log_probs.detach() if group.old is None else group.old
        ratio = (log_probs - old).exp()
        clipped = ratio.clamp(1 - self.config.clip_range, 1 + self.config.clip_range)
        advantages = group.advantages[:, None]
        policy = -torch.minimum(ratio * advantages, clipped * advantages)
        gap = group.start - log_probs
        divergence = gap.exp() - gap - 1
        lengths = counts.sum(dim=1).clamp(min=1)
        used = group.spread.repeat_interleave(self.config.group_size).float()

        def mean_of_tokens(values: Tensor) -> Tensor:
            return ((values * counts).sum(dim=1) / lengths * used).sum()

        rows = len(group.written)
        parts = {
            "policy": LossTerm(mean_of_tokens(policy), used.sum()),
            "kl": LossTerm(mean_of_tokens(divergence), used.sum(), self.config.kl_weight),
            "reward": _logged(group.rewards, lambda reward: reward.total),
            "accuracy": _logged(group.rewards, lambda reward: reward.accuracy),
            "hallucination": _logged(group.rewards, lambda reward: reward.hallucination),
            "context": _logged(group.rewards, lambda reward: reward.context),
            "length": LossTerm(lengths.float().sum(), rows, 0.0),
            "without_spread": LossTerm((~group.spread).float().sum(), len(group.spread), 0.0),
        }
        return parts

    def roll_out(self, batch: SpeechBatch, random: Generator) -> Group:
        """Sample and judge K transcripts for every utterance."""
        hints = draw_hints(batch.texts, self.config.hints, random, self._keywords)
        prompt = self._prompt(self.network, batch, hints)
        seconds = batch.durations_s
        with torch.no_grad():
            detached = Prompt(prompt.embeddings.detach(), prompt.attention_mask)
            written, old = self._sample(detached, seconds)
            (start,) = self._start
            started = self._prompt(start.to(prompt.embeddings.device), batch, hints)
            reference, _ = token_log_probs(start.llm, started, written)
        rewards = self._judge(batch.texts, hints, written)
        advantages, spread = advantages_of([reward.total for reward in rewards], self.config.group_size)
        device = prompt.embeddings.device
        return Group(prompt, written, old, reference, rewards, advantages.to(device), spread.to(device))

    def _sample(self, prompt: Prompt, seconds: Sequence[float]) -> tuple[list[list[int]], Tensor | None]:
        """Transcripts, and log p_old of their tokens (rows, N), None where that is today's p."""
        if self._engine is None:
            return sample(self.network, self._tokenizer, prompt, seconds, self._draw), None
        drawn = self._engine.sample(self._tokenizer, prompt, seconds, self._draw)
        rows = [torch.tensor(log_prob) for log_prob in drawn.log_probs]
        old = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(prompt.embeddings.device)
        return drawn.written, old

    def _prompt(self, network: Nim4, batch: SpeechBatch, hints: Sequence[Sequence[str]]) -> Prompt:
        assert network.adaptor is not None
        frames, lengths = network.encoder(batch.features[0], batch.lengths, DEPLOYED_CHUNKS)
        speech, speech_lengths = network.adaptor(frames, lengths)
        return network.embed_prompts(self._tokenizer, speech, speech_lengths, hints)

    def _judge(
        self, texts: Sequence[str], hints: Sequence[Sequence[str]], written: Sequence[Sequence[int]]
    ) -> list[Reward]:
        end = self._tokenizer.end
        rewards = []
        for row, tokens in enumerate(written):
            place = row // self.config.group_size
            text = self._tokenizer.decode([token for token in tokens if token != end])
            rewards.append(reward(texts[place], text, hints[place], self.config.important_keywords))
        return rewards


def advantages_of(rewards: Sequence[float], samples: int) -> tuple[Tensor, Tensor]:
    """The advantages (B * K,) in groups of ``samples``, 0 where a group has no spread, and which groups have
    one (B,).
    """
    groups = torch.tensor(rewards, dtype=torch.float32).reshape(-1, samples)
    spread = groups.amax(dim=1) - groups.amin(dim=1) > _SPREAD
    advantages = (groups - groups.mean(dim=1, keepdim=True)) / (groups.std(dim=1, keepdim=True) + 1e-6)
    return (advantages * spread[:, None]).flatten(), spread


def _logged(rewards: Sequence[Reward], part: Callable[[Reward], float]) -> LossTerm:
    return LossTerm(torch.tensor(sum(map(part, rewards))), len(rewards), 0.0)
