"""from-public-parts: some hundred hours and one GPU, around a public encoder and a public language model.

Begins with all of a model that ``nim4 new`` has made. What is the paper's: the stages, their objectives and,
for a language model that is trained whole, its learning rates. Ours are the order of the first stages, the
passes over the data and all else below; no value has been swept.

1. ``head``: the phoneme head alone, on frames of the public encoder that are computed once and stored. It
   takes minutes, and gives the next stage's gradients a meaning from the first step on.
2. ``pretraining``: the encoder, by CR-CTC with dynamic chunks. From here on the model streams. It comes
   before the adaptor and the language model: these learn to read the encoder that will be used, one that has
   heard this kind of speech and has heard it in chunks. What they learnt of the public one's frames would be
   of another encoder.
3. ``alignment``, ``ia-sft``: the adaptor, then the language model with it, on frames of the new encoder,
   which is frozen: computed once, stored and shared by both stages, whole and in chunks in turns. Where the
   disk has no room for them, they are computed for every batch.
4. ``joint-sft``, ``context-sft``, ``rl``: everything, as in the paper.
5. ``phoneme-head``: the head on the encoder that the others have left behind, as in the paper.

How many seconds of audio a step hears is fixed below; how many batches it is cut into follows from the memory
that is there (``nim4asr.training.costs``).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from nim4asr.data.amount import Amount, amount_of
from nim4asr.data.augmentation import AugmentationConfig
from nim4asr.data.keywords import KeywordConfig
from nim4asr.data.manifest import read_manifest
from nim4asr.data.robustness import RobustnessConfig
from nim4asr.errors import InputError
from nim4asr.model.configuration import Nim4Config
from nim4asr.model.shapes import ChunkScheme
from nim4asr.recipes.corpora import every_manifest, noises_of
from nim4asr.training.costs import CostModel, fit
from nim4asr.training.loop.loop import LoopConfig
from nim4asr.training.loop.optimizer import OptimizerConfig
from nim4asr.training.lora import LoraConfig
from nim4asr.training.machine import Machine
from nim4asr.training.recipe import CorpusConfig, Recipe
from nim4asr.training.speech import SpeechData, StoredFrames
from nim4asr.training.stages.alignment import Alignment
from nim4asr.training.stages.base import SpeechStage
from nim4asr.training.stages.context_sft import ContextSft
from nim4asr.training.stages.ia_sft import IaSft
from nim4asr.training.stages.joint_sft import JointSft
from nim4asr.training.stages.phoneme_head import PhonemeHeadTuning
from nim4asr.training.stages.pretraining import Pretraining
from nim4asr.training.stages.rl import Rl

# More hours than this are read at every pass; fewer have their features stored.
_STORED_HOURS = 500.0
# Frames may take so much of the disk that is free.
_DISK_SHARE = 0.5
_LONGEST_S, _LONGEST_REWARDED_S = 20.0, 10.0
# RL hears some of the utterances once, and no more than the paper's 20,000.
_RL_SHARE, _RL_UTTERANCES = 0.1, 20_000

LORA = LoraConfig()

AnyStage = TypeVar("AnyStage", bound=SpeechStage)


@dataclass(frozen=True)
class _Rates:
    """Peak learning rates of the stages with a language model."""

    ia_sft: float
    joint_sft: float
    context_sft: float
    rl: float


# The paper's, and what corrections of a rank of 32 can take.
_WHOLE = _Rates(1e-5, 1e-5, 1e-6, 2e-6)
_CORRECTED = _Rates(2e-4, 5e-5, 1e-5, 5e-6)


def speech_in(data: Path) -> Amount:
    """How much speech there is to train on in ``data``. Raises ``InputError`` if there is none."""
    configs = map(CorpusConfig, every_manifest(data))
    utterances = [
        one for config in configs for one in read_manifest(config.manifest) if not config.is_dev(one)
    ]
    if not utterances:
        raise InputError(f"{data / 'speech'}: all utterances are of the split dev, and none to train on")
    return amount_of(utterances)


def whole_model(start: Nim4Config | None) -> Nim4Config:
    """``start``, if it can be trained. Raises ``InputError`` if it is missing, or an encoder alone."""
    if start is None:
        raise InputError(
            "from-public-parts trains a model that nim4 new has made; name its folder with --init-model"
        )
    if start.adaptor is None or start.phoneme_head is None or start.llm is None:
        raise InputError(
            f"{start.name!r} is an encoder alone; make a model around it with nim4 new --encoder --llm"
        )
    return start


def recipe(
    data: Path,
    start: Nim4Config,
    machine: Machine,
    amount: Amount | None = None,
    lora: LoraConfig | None = LORA,
) -> Recipe:
    """The whole training of the model of the configuration ``start`` on every manifest in ``data/speech``,
    with the noises of ``data/noise/noise.tar`` if it is there.

    ``machine`` says what memory and disk there are, ``amount`` how much speech (None: as the manifests say).
    Of the language model, corrections are trained (``lora``) or, with None, all of it. Raises ``InputError``
    if there is no manifest, or not the memory for a stage.
    """
    manifests, noises = every_manifest(data), noises_of(data)
    amount = amount or speech_in(data)
    stored = amount.seconds <= _STORED_HOURS * 3600
    # On a processor, the cores are the network's.
    workers = 8 if not stored else 4 if machine.device == "cuda" else 0
    costs = CostModel(start, machine.precision, machine.device)
    rates = _WHOLE if lora is None else _CORRECTED
    varied = AugmentationConfig(narrowband_share=0.15, noise_speeds=(0.5, 2.0))

    def speech(step_s: float, cost_s: float = 0.0, empty: float = 0.05, **more: Any) -> SpeechData:
        return SpeechData(
            step_s, _LONGEST_S, empty_share=empty, augmentation=varied, utterance_cost_s=cost_s, **more
        )

    def loop(data: SpeechData, passes: float, peak_lr: float) -> LoopConfig:
        seconds = amount.seconds + amount.utterances * data.utterance_cost_s
        steps = max(1, math.ceil(passes * seconds / data.batch_seconds))
        return LoopConfig(
            steps,
            OptimizerConfig(peak_lr, muon=False, weight_decay=0.01, clip_norm=1.0),
            warmup_steps=max(1, min(500, steps // 20)),
            log_every=min(20, max(1, steps // 20)),
            evaluate_every=min(1000, max(1, steps // 4)),
            checkpoint_every=min(500, max(1, steps // 10)),
            keep_states=1,
            data_workers=workers,
        )

    def fitted(name: str, stage: AnyStage) -> AnyStage:
        batch_s, batches = fit(name, stage, costs.cost(stage), machine.memory_bytes)
        fields: dict[str, Any] = {
            "data": replace(stage.data, batch_seconds=batch_s),
            "loop": replace(stage.loop, accumulation_steps=batches),
        }
        changed: AnyStage = replace(stage, **fields)  # type: ignore[type-var]
        return changed

    prompt_s, hinted_s = costs.prompt_s(False), costs.prompt_s(True)
    heard = speech(240.0, empty=0.01, frames=StoredFrames((None, None)))
    encoded = speech(120.0, empty=0.01)
    read = speech(120.0, prompt_s, frames=StoredFrames((None, ChunkScheme())))
    if not _fits(costs, amount, machine, read):
        heard, read = replace(heard, frames=None), replace(read, frames=None)
    joint, hinted = speech(120.0, prompt_s), speech(120.0, hinted_s, long_s=6.0, long_weight=2.0)
    # Of long ones, all the samples that are drawn would fill the memory.
    rewarded = replace(speech(48.0, hinted_s), max_s=_LONGEST_REWARDED_S, augmentation=None)
    rl_passes = min(_RL_SHARE, _RL_UTTERANCES / amount.utterances)
    last = replace(heard, frames=None)
    stages: dict[str, SpeechStage] = {
        # As many views as stored frames have: one a batch.
        "head": PhonemeHeadTuning(loop(heard, 6.0, 3e-3), heard, views=1),
        "pretraining": Pretraining(loop(encoded, 6.0, 6e-5), encoded, dual_mode=True),
        "alignment": Alignment(loop(read, 1.0, 1e-3), read),
        "ia-sft": IaSft(loop(read, 3.0, rates.ia_sft), read, lora=lora),
        "joint-sft": JointSft(loop(joint, 3.0, rates.joint_sft), joint, lora=lora),
        "context-sft": ContextSft(loop(hinted, 1.0, rates.context_sft), hinted, lora=lora),
        "rl": Rl(loop(rewarded, rl_passes, rates.rl), rewarded, lora=lora),
        "phoneme-head": PhonemeHeadTuning(loop(last, 2.0, 5e-4), last),
    }
    return Recipe(
        network=lambda vocabulary: start,
        starts_whole=True,
        corpora={manifest.stem: CorpusConfig(manifest, stored=stored) for manifest in manifests},
        noises=noises,
        robustness=RobustnessConfig(narrowband_share=0.15),
        keywords=KeywordConfig(),
        # As the transcripts are written: the language model knows how.
        text_form="written",
        precision=machine.precision,
        stages={name: fitted(name, stage) for name, stage in stages.items()},
        dev=tuple(manifest.stem for manifest in manifests),
    )


def _fits(costs: CostModel, amount: Amount, machine: Machine, data: SpeechData) -> bool:
    """Whether the disk has room for the frames of ``data``."""
    assert data.frames is not None
    frame_bytes = 2.0 * costs.config.encoder.frame_dim * len(data.frames.chunks)
    return amount.seconds * costs.frames_per_s * frame_bytes <= _DISK_SHARE * machine.disk_bytes
