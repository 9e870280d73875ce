"""Costs that are predicted, beside what torch counts on networks of a few sizes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config

from conftest import toy_config, toy_whisper_config
from nim4asr.data.batches import SpeechBatch
from nim4asr.data.frames import FrameBatch
from nim4asr.data.keywords import KeywordSet
from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.encoders import build_encoder
from nim4asr.model.nim4 import Nim4, build_language_model
from nim4asr.model.shapes import AdaptorConfig, ChunkScheme, ConformerConfig, PhonemeHeadConfig, WhisperConfig
from nim4asr.model.tokenizer import Tokenizer
from nim4asr.training.costs import TEXT_TOKENS_S, CostModel, StageCost, fit
from nim4asr.training.loop.objective import mean_loss
from nim4asr.training.loop.precision import Precision
from nim4asr.training.lora import LoraConfig, attach
from nim4asr.training.machine import Machine
from nim4asr.training.model import TrainableModel
from nim4asr.training.speech import SpeechData, StoredFrames
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import SpeechStage, Work
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl
from nim4asr.training.tokenizer import train_tokenizer
from training.toys import LOOP

PRECISIONS: tuple[Precision, ...] = ("no", "bf16")
LORA = LoraConfig(8)
DATA = SpeechData(40.0, 10.0, augmentation=None)
FRAMES = replace(DATA, frames=StoredFrames())
LLM = {
    "model_type": "qwen3",
    "vocab_size": 3000,
    "hidden_size": 96,
    "intermediate_size": 288,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "tie_word_embeddings": True,
}


def config_of(vocabulary: int) -> Nim4Config:
    """Whisper's shape in small, around a language model of Qwen3's."""
    return replace(
        toy_whisper_config(vocabulary),
        encoder=WhisperConfig(96, 3, 4, 384),
        adaptor=AdaptorConfig(192, 96),
        phoneme_head=PhonemeHeadConfig(192, 192),
        llm={**LLM, "vocab_size": vocabulary},
    )


def kept(compute: Callable[[], object], weights: Any, half: bool) -> int:
    """The bytes that autograd keeps of ``compute``, each tensor once, the ``weights`` not among them."""
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    sizes: dict[int, int] = {}
    # Held, so that no storage is freed and its address used again.
    held = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    with (
        saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        compute()
    return sum(sizes.values())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        WhisperConfig(96, 3, 4, 384),
        WhisperConfig(64, 2, 4, 128, input_dim=128, joined=1),
        ConformerConfig(64, 2, 8, 33, feedforward_multiplier=2, subsampling_channels=16),
    ],
)
def test_what_an_encoder_keeps(config: WhisperConfig | ConformerConfig, half: bool) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(config).train()
    features = [torch.randn(2, frames, config.input_dim) for frames in (200, 600)]
    counted = [
        kept(lambda x=x: encoder(x, torch.full((2,), x.shape[1]), ChunkScheme()), encoder.parameters(), half)  # type: ignore[misc]
        for x in features
    ]
    # The difference is without the copies of weights in bfloat16.
    short, long = (x.shape[1] // config.stride for x in features)
    predicted = 2 * (long * encoder.kept_bytes(long, half) - short * encoder.kept_bytes(short, half))
    exact = isinstance(config, WhisperConfig)
    assert predicted == pytest.approx(counted[1] - counted[0], rel=0.02 if exact else 0.2)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "work",
    [
        Work(("adaptor", "llm"), writes=True),
        Work(("adaptor",), writes=True, lora=LORA),
        Work(("adaptor",), writes=True),
    ],
    ids=["whole", "lora", "passed"],
)
def test_what_a_language_model_keeps_of_a_token(work: Work, precision: Precision) -> None:
    torch.manual_seed(0)
    llm = build_language_model(LLM).train()
    if "llm" not in work.trained:
        llm.requires_grad_(False)
    if work.lora is not None:
        attach(llm, work.lora)
    costs = CostModel(config_of(3000), precision)
    counted = []
    for tokens in (64, 128):
        x = torch.randn(2, tokens, 96, requires_grad=True)
        mask = torch.ones(2, tokens, dtype=torch.long)
        mask[0, :5] = 0

        def compute(x: Tensor = x, mask: Tensor = mask) -> object:
            return llm(inputs_embeds=x, attention_mask=mask, logits_to_keep=1, use_cache=False).logits

        counted.append(kept(compute, [*llm.parameters(), x], precision == "bf16"))
    of_token = (counted[1] - counted[0]) / 128
    assert costs.kept_of_token(work) == pytest.approx(of_token, rel=0.15)
    # What does not grow with the tokens: copies of the weights.
    copies = counted[0] - 128 * of_token
    assert costs.cast_bytes(work) == pytest.approx(max(0.0, copies), rel=0.2, abs=3e5)


STAGES: dict[str, SpeechStage] = {
    "head of frames": PhonemeHeadTuning(LOOP, FRAMES, views=1),
    "pretraining": Pretraining(LOOP, DATA, dual_mode=True),
    "alignment": Alignment(LOOP, FRAMES),
    "ia-sft of features": IaSft(LOOP, DATA, lora=LORA),
    "joint-sft": JointSft(LOOP, DATA),
    "context-sft by lora": ContextSft(LOOP, DATA, lora=LORA),
    "rl by lora": Rl(LOOP, DATA, group_size=2, lora=LORA),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["今天天气很好", "how are you today"] * 3, 300)


def model_of(tokenizer: Tokenizer) -> TrainableModel:
    torch.manual_seed(0)
    return TrainableModel(Nim4(config_of(len(tokenizer))), tokenizer, None, KeywordSet(["天气"]))


def batch_of(stage: SpeechStage, tokenizer: Tokenizer) -> SpeechBatch | FrameBatch:
    """20 s in 2 utterances, whose transcripts have as many tokens as the prediction takes."""
    random = np.random.default_rng(0)
    text = "今天天气很好" * 10
    assert len(tokenizer.encode(text)) == 10 * TEXT_TOKENS_S
    targets, lengths = torch.ones(2 * 80, dtype=torch.long), torch.full((2,), 80)
    rest: tuple[Any, ...] = (targets, lengths, (text,) * 2, ("a", "b"))
    if stage.data.frames is not None:
        frames = random.standard_normal((2, 250, 192)).astype(np.float32)
        return FrameBatch(torch.from_numpy(frames), torch.full((2,), 250), *rest)
    features = random.standard_normal((stage.work().views, 2, 1000, 80)).astype(np.float32)
    return SpeechBatch(torch.from_numpy(features), torch.full((2,), 1000), *rest, 100)


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "no") for name in STAGES), ("context-sft by lora", "bf16")]
)
def test_what_a_stage_trains_keeps_and_computes(
    name: str, precision: Precision, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Transcripts are not drawn, which takes long, but given.
    monkeypatch.setattr("nim4asr.training.stages.rl.sample", lambda *_: [[9] * 60] * 4)
    model, stage = model_of(tokenizer), STAGES[name]
    weights = sum(p.numel() for p in model.network.parameters())
    objective: Any = stage.objective(model).train()
    objective.open()
    batch: Any = objective.prepare(batch_of(stage, tokenizer), 0, np.random.default_rng(0))
    losses = []
    with FlopCounterMode(display=False) as counter:
        counted = kept(
            lambda: losses.append(mean_loss(objective(batch, np.random.default_rng(0)))),
            model.network.parameters(),
            precision == "bf16",
        )
        losses[0].backward()
    trained = sum(p.numel() for p in model.network.parameters() if p.requires_grad)

    costs = CostModel(model.network.config, precision)
    # For utterances of 10 s, which are the longest, and no shorter ones.
    cost = costs.cost(replace(stage, data=replace(stage.data, min_s=10.0)))  # type: ignore[type-var]
    # Gradients and two moments of what is trained, all weights, of RL twice; a gigabyte for the program.
    assert cost.trained == trained
    assert cost.fixed_bytes - costs.cast_bytes(stage.work()) == (
        1e9 + 12 * trained + 4 * weights * (1 + name.startswith("rl"))
    )
    # More than is kept: gradients and what lives for a moment are predicted too, such as one block of an
    # encoder that is not trained.
    predicted = 20.0 * cost.kept_bytes_per_s + costs.cast_bytes(stage.work())
    hears = stage.data.frames is None and "encoder" not in stage.work().trained
    moment = 20 * 25 * stage.work().views * model.network.encoder.kept_bytes(250, precision == "bf16") / 3
    assert 0.9 * counted <= predicted <= 2.5 * counted + moment * hears
    # Of the seconds of the batch, the prompts take some more.
    prompts_s = 2 * costs.prompt_s(stage.work().hints)
    predicted = cost.flops_per_audio_s * 20.0 + cost.flops_per_s * (20.0 + prompts_s)
    assert predicted == pytest.approx(counter.get_total_flops(), rel=0.5)


def test_a_language_model_of_another_kind_is_counted_too(tokenizer: Tokenizer) -> None:
    gpt2 = GPT2Config(vocab_size=300, n_embd=96, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
    config = replace(config_of(300), llm=gpt2.to_dict())
    cost = CostModel(config, "no").cost(STAGES["ia-sft of features"])
    # Four matrices of a block: 96 to 288, 96 to 96, 96 to 384 and back.
    assert cost.trained == 8 * 2 * (384 + 192 + 480 + 480) + (192 * 4 + 1) * 96 + 97 * 96


COST = StageCost(
    fixed_bytes=5e9,
    step_bytes=1e9,
    kept_bytes_per_s=1e8,
    flops_per_audio_s=2e9,
    flops_per_s=1e9,
    draws=False,
    frame_flops_per_audio_s=0.0,
    frame_bytes_per_audio_s=0.0,
    trained=1,
)


@pytest.mark.parametrize(
    ("memory", "seconds", "batches"), [(20e9, 120.0, 1), (17e9, 120.0, 1), (16.9e9, 60.0, 2), (8e9, 30.0, 4)]
)
def test_a_step_is_cut_into_as_few_batches_as_the_memory_allows(
    memory: float, seconds: float, batches: int
) -> None:
    stage = Pretraining(LOOP, SpeechData(120.0, 20.0))
    assert fit("pretraining", stage, COST, memory) == (seconds, batches)
    assert COST.memory_bytes(seconds) <= memory
    if batches > 1:
        assert COST.memory_bytes(120.0 / (batches - 1)) > memory


def test_a_stage_for_which_there_is_no_memory(tokenizer: Tokenizer) -> None:
    stage = Pretraining(LOOP, SpeechData(120.0, 20.0))
    with pytest.raises(
        InputError, match=r"'encoder' needs 7.0 GB for one utterance of 20 s, and there are 6.9"
    ):
        fit("encoder", stage, COST, 6.9e9)
    # The optimizer's step must find room as well.
    with pytest.raises(InputError, match="needs"):
        fit("encoder", stage, replace(COST, kept_bytes_per_s=1.0), 5.5e9)
    assert COST.memory_bytes(1.0) == 6e9


def test_many_short_utterances_cost_no_more_than_a_few_long_ones(tokenizer: Tokenizer) -> None:
    costs = CostModel(config_of(len(tokenizer)), "no")
    stage = JointSft(LOOP, replace(DATA, utterance_cost_s=costs.prompt_s(False)))
    free = JointSft(LOOP, DATA)
    assert costs.tokens_per_s == 6.25 + 6.0
    long = costs.cost(replace(free, data=replace(DATA, min_s=DATA.max_s))).kept_bytes_per_s
    assert costs.cost(stage).kept_bytes_per_s < long
    # Where they are not counted, a batch of words is mostly prompts.
    assert costs.cost(free).kept_bytes_per_s > 1.5 * long


def test_time_follows_from_the_machine() -> None:
    machine = Machine("toy", "cpu", 10**10, 10**12, 1e12, "no")
    assert COST.seconds(machine, 100.0, 200.0, 4) == pytest.approx((2e11 + 2e11) / 0.4e12)
    # However fast it computes.
    assert COST.seconds(replace(machine, flops=1e15), 100.0, 200.0, 4) == pytest.approx(4 * 0.05)
    # Sixty tokens of each batch are drawn one after another.
    assert replace(COST, draws=True).seconds(machine, 100.0, 200.0, 4) == pytest.approx(1.0 + 4 * 60 * 0.02)
    assert replace(COST, frame_flops_per_audio_s=4e9).frame_seconds(machine, 100.0) == pytest.approx(1.0)


def test_all_weights_are_counted() -> None:
    whole = toy_config(100)
    assert CostModel(whole, "no").parameters == sum(p.numel() for p in Nim4(whole).parameters())
